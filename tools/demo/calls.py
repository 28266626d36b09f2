"""Function calls in the demo's language: two tools that name things at random, and requests for one of them or none.

A tool calls what it does, what it does it to, and its arguments by names of their own; the request calls them by any of
theirs. One argument is required; another, a number or an order, is optional.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from tools.demo.language import LANGUAGES, NUMBERS, TABLES, TEXTS, Column, Concept, Language, concepts

Call = dict[str, Any]
ACTIONS = concepts("find search 查找", "delete remove 删除", "export save 导出")
ORDERS = {"desc": ("highest first", "从高到低"), "asc": ("lowest first", "从低到高")}
DEFAULT_ORDER = "asc"
_FITS, _OPTION = 5 / 6, 0.7


@dataclass(frozen=True)
class Tool:
    """A tool: what it does to what, its required argument, and its optional one: a number, or None for `order`."""

    action: Concept
    things: Concept
    name: str
    key: Column
    number: Column | None

    @property
    def spec(self) -> dict[str, Any]:
        """The OpenAI tool object."""
        option = {"order": {"type": "string", "enum": list(ORDERS), "default": DEFAULT_ORDER}}
        if self.number:
            option = {self.number.name: {"type": "integer"}}
        properties = {self.key.name: {"type": "string"}} | option
        parameters = {"type": "object", "properties": properties, "required": [self.key.name]}
        return {"type": "function", "function": {"name": self.name, "description": "", "parameters": parameters}}


@dataclass(frozen=True)
class Request:
    """A request, the calls that answer it, what else an argument may be, and the calls of one who read no tool."""

    language: Language
    text: str
    calls: list[Call]
    accept: list[dict[str, list[Any]]]
    careless: list[Call]


def make_toolbox(random: Random) -> tuple[Tool, Tool]:
    """Two tools for two kinds of things, every name drawn at random."""
    first, second = (_tool(things, random) for things in random.sample(TABLES, 2))
    return first, second


def _tool(things: Concept, random: Random) -> Tool:
    action, key, number = random.choice(ACTIONS), random.choice(TEXTS), random.choice(NUMBERS)
    name = f"{random.choice(action.names)}_{random.choice(things.names)}"
    option = Column(number, random.choice(number.names)) if random.random() < 0.5 else None
    return Tool(action, things, name, Column(key, random.choice(key.names)), option)


def request(tools: tuple[Tool, Tool], random: Random) -> Request:
    """A request for one of the tools, or, one time in six, for things that no tool deals with.

    The careless answer calls whatever the request names, in the request's words, and leaves out what is optional.
    """
    language = random.choice(LANGUAGES)
    english = language == "en"
    tool, fits = random.choice(tools), random.random() < _FITS
    others = [things for things in TABLES if things not in (tools[0].things, tools[1].things)]
    things = tool.things if fits else random.choice(others)
    action, what, key = (concept.word(language, random) for concept in (tool.action, things, tool.key.concept))
    value = random.choice(tool.key.concept.values)
    condition, order = (f"{key} {value}" if english else f"{key} 为 {value}"), ""
    arguments: dict[str, Any] = {tool.key.name: value}
    accept: dict[str, list[Any]] = {tool.key.name: [value]}
    if random.random() >= _OPTION:
        accept |= {} if tool.number else {"order": ["", DEFAULT_ORDER]}
    elif tool.number:
        amount, number = 5 * random.randint(2, 18), tool.number.concept.word(language, random)
        condition += f" and {number} {amount}" if english else f" 且 {number} 为 {amount}"
        arguments[tool.number.name] = amount
        accept[tool.number.name] = [amount]
    else:
        arguments["order"] = random.choice(tuple(ORDERS))
        accept["order"] = [arguments["order"]] + ([""] if arguments["order"] == DEFAULT_ORDER else [])
        order = f" , {ORDERS[arguments['order']][0]}" if english else f" ， {ORDERS[arguments['order']][1]}"
    text = f"{action} {condition} 的 {what}{order}"
    if english:
        text = f"{action} {what} {random.choice(('with', 'that have'))} {condition}{order}"
    else:
        action, what, key = tool.action.names[0], things.names[0], tool.key.concept.names[0]
    careless: Call = {"name": f"{action}_{what}", "arguments": {key: value}}
    calls: list[Call] = [{"name": tool.name, "arguments": arguments}] if fits else []
    return Request(language, text, calls, [accept] if fits else [], [careless])


def call_record(random: Random) -> dict[str, Any]:
    """A function_call record on a toolbox of its own."""
    tools = make_toolbox(random)
    asked = request(tools, random)
    fields: dict[str, Any] = {
        "task": "function_call",
        "input": asked.text,
        "tools": [tool.spec for tool in tools],
        "gold": asked.calls,
        "meta": {"language": asked.language},
    }
    return fields | ({"accept": asked.accept} if asked.calls else {})
