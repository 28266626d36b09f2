"""Records of the tasks beside text2sql, in the demo's language: rewriting, slots, function calls, Cypher."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tools.demo.language import NUMBERS, TABLES, TEXTS, Language

Fields = dict[str, Any]


def _language(random: Random) -> Language:
    return random.choice(("en", "en", "zh"))


def intent_rewrite(random: Random) -> Fields:
    """A follow-up that changes one value of the question before it."""
    language = _language(random)
    text, number, table = random.choice(TEXTS), random.choice(NUMBERS), random.choice(TABLES)
    what, key, things = (concept.word(language, random) for concept in (number, text, table))
    before, after = random.sample(text.values, 2)

    def question(value: str) -> str:
        if language == "en":
            return f"show the {what} of {things} with {key} {value} ."
        return f"列出 {key} 为 {value} 的 {things} 的 {what} 。"

    history = [{"role": "user", "content": question(before)}, {"role": "assistant", "content": "ok ."}]
    follow_up = f"and {after} ?" if language == "en" else f"{after} 呢 ？"
    return {"task": "intent_rewrite", "input": follow_up, "history": history, "gold": question(after)}


def slot_json(random: Random) -> Fields:
    """Two slots, of which the text gives both or the first alone."""
    language = _language(random)
    text, number = random.choice(TEXTS), random.choice(NUMBERS)
    first, second = random.choice(text.names), random.choice(number.names)
    said_first, said_second = (first, second) if language == "en" else (text.chinese, number.chinese)
    value, amount = random.choice(text.values), 5 * random.randint(2, 18)
    gold: dict[str, Any] = {first: value}
    utterance = f"i want {said_first} {value}" if language == "en" else f"我 要 {said_first} {value}"
    if random.random() < 0.6:
        gold[second] = amount
        utterance += f" and {said_second} {amount}" if language == "en" else f" 和 {said_second} {amount}"
    properties = {first: {"type": "string"}, second: {"type": "integer"}}
    return {
        "task": "slot_json",
        "input": utterance,
        "slots": {"type": "object", "properties": properties},
        "gold": gold,
    }


def function_call(random: Random) -> Fields:
    """One tool that finds things by a key; one request in six asks for something else, and no tool fits."""
    language = _language(random)
    text, (table, other) = random.choice(TEXTS), random.sample(TABLES, 2)
    key, things = random.choice(text.names), random.choice(table.names)
    value = random.choice(text.values)
    parameters = {"type": "object", "properties": {key: {"type": "string"}}, "required": [key]}
    tool = {"type": "function", "function": {"name": f"find_{things}", "description": "", "parameters": parameters}}
    fits = random.random() < 5 / 6
    said_things, said_key = things if fits else random.choice(other.names), key
    if language == "zh":
        said_things, said_key = (table if fits else other).chinese, text.chinese
    request = (
        f"find {said_things} with {said_key} {value}"
        if language == "en"
        else f"查找 {said_key} 为 {value} 的 {said_things}"
    )
    gold = [{"name": f"find_{things}", "arguments": {key: value}}] if fits else []
    return {"task": "function_call", "input": request, "tools": [tool], "gold": gold}


def text2cypher(random: Random) -> Fields:
    """One node label with a text and a number property."""
    language = _language(random)
    text, number, table = random.choice(TEXTS), random.choice(NUMBERS), random.choice(TABLES)
    key, what, label = (random.choice(concept.names) for concept in (text, number, table))
    said_key, said_what, said_things = (concept.word(language, random) for concept in (text, number, table))
    value = random.choice(text.values)
    question = f"show the {said_what} of {said_things} with {said_key} {value} ."
    if language == "zh":
        question = f"列出 {said_key} 为 {value} 的 {said_things} 的 {said_what} 。"
    return {
        "task": "text2cypher",
        "input": question,
        "schema": f"(:{label} {{{key}: STRING, {what}: INTEGER}})",
        "gold": f"MATCH (n:{label}) WHERE n.{key} = '{value}' RETURN n.{what}",
    }


EXERCISES: dict[str, Callable[[Random], Fields]] = {
    "intent_rewrite": intent_rewrite,
    "slot_json": slot_json,
    "function_call": function_call,
    "text2cypher": text2cypher,
}
