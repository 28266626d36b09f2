"""Function calls in the demo's language: a tool that names things at random, and requests for it or for none.

A tool calls what it finds and its arguments by names of their own; the request calls them by any of theirs. One
argument is required; another, a number or an order, is optional.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from tools.demo.language import LANGUAGES, NUMBERS, TABLES, TEXTS, Column, Concept, Language

Call = dict[str, Any]
ORDERS = {"desc": ("highest first", "从高到低"), "asc": ("lowest first", "从低到高")}
DEFAULT_ORDER = "asc"
_FITS, _OPTION = 5 / 6, 0.7


@dataclass(frozen=True)
class Tool:
    """A tool: what it finds, its required argument, and its optional one: a number, or None for `order`."""

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
    """A request, the calls that answer it, what else an argument may be, and the calls of a careless reader."""

    language: Language
    text: str
    calls: list[Call]
    accept: list[dict[str, list[Any]]]
    careless: list[Call]


def make_tool(random: Random) -> Tool:
    """A tool with every name drawn at random."""
    things, key, number = random.choice(TABLES), random.choice(TEXTS), random.choice(NUMBERS)
    option = Column(number, random.choice(number.names)) if random.random() < 0.5 else None
    return Tool(things, f"find_{random.choice(things.names)}", Column(key, random.choice(key.names)), option)


def request(tool: Tool, random: Random) -> Request:
    """A request for the tool, or, one time in six, for things that it does not deal with.

    The careless answer calls whatever the request names, in the request's words, and leaves out what is optional.
    """
    language = random.choice(LANGUAGES)
    english = language == "en"
    fits = random.random() < _FITS
    things = tool.things if fits else random.choice([things for things in TABLES if things is not tool.things])
    what, key = (concept.word(language, random) for concept in (things, tool.key.concept))
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
    text = f"查找 {condition} 的 {what}{order}"
    if english:
        text = f"find {what} {random.choice(('with', 'that have'))} {condition}{order}"
    else:
        what, key = things.names[0], tool.key.concept.names[0]
    careless: Call = {"name": f"find_{what}", "arguments": {key: value}}
    calls: list[Call] = [{"name": tool.name, "arguments": arguments}] if fits else []
    return Request(language, text, calls, [accept] if fits else [], [careless])


def call_record(random: Random) -> dict[str, Any]:
    """A function_call record with a tool of its own."""
    tool = make_tool(random)
    asked = request(tool, random)
    fields: dict[str, Any] = {
        "task": "function_call",
        "input": asked.text,
        "tools": [tool.spec],
        "gold": asked.calls,
        "meta": {"language": asked.language},
    }
    return fields | ({"accept": asked.accept} if asked.calls else {})
