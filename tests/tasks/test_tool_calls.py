"""Completions as a model that has come apart may give them: each is read, and soon."""

import json

import pytest

from qwen_lightning.records import FunctionCallRecord
from qwen_lightning.tasks.function_call import FunctionCall
from qwen_lightning.tasks.tool_calls import MAX_CALLS, MAX_CHARACTERS, MAX_DEPTH, read_answer

NODE = {"anyOf": [{"properties": {"next": {"$ref": "#/$defs/node"}, "kind": {"const": kind}}} for kind in "abc"]}
PARAMETERS = {
    "type": "object",
    "properties": {
        "value": {},
        "numbers": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
        "word": {"type": "string", "pattern": "^(a|a)*$"},
        "chain": {"$ref": "#/$defs/node"},
    },
    "$defs": {"node": NODE},
}
RECORD = FunctionCallRecord.model_validate(
    {
        "id": "1",
        "task": "function_call",
        "input": "?",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}],
        "gold": [{"name": "f", "arguments": {"value": 1}}],
    }
)
MEGABYTE = 1_000_000


def nested(levels, opening="[", closing="]"):
    return opening * levels + "1" + closing * levels


def said(arguments):
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return f'<tool_call>\n{{"name": "f", "arguments": {text}}}\n</tool_call>'


def chain(length):
    value = {"kind": "d"}
    for _ in range(length):
        value = {"kind": "d", "next": value}
    return value


HOSTILE = {
    "brackets": "[" * MEGABYTE,
    "braces": "{" * MEGABYTE,
    "brackets in a call": said("[" * MEGABYTE),
    "deep arrays": said('{"value": ' + nested(50_000) + "}"),
    "deep objects": said('{"value": ' + nested(50_000, '{"a":', "}") + "}"),
    "a little too deep": said('{"value": ' + nested(900) + "}"),
    "opening tags": "<tool_call>" * 100_000,
    "closing tags": "</tool_call>" * 100_000,
    "empty blocks": "<tool_call></tool_call>" * 50_000,
    "tags and quotes": '<tool_call>["' * 80_000,
    "tags and braces": '<tool_call>{"a":"' * 60_000,
    "thoughts": "<think>" * 100_000,
    "a thought that never ends": "<think>" + said({"value": 1}) * 1000,
    "100k calls": said({"value": 1}) * 100_000,
    "calls as many as may be": said({"value": 1}) * MAX_CALLS,
    "long string": said({"value": "a" * MEGABYTE}),
    "many numbers": said({"numbers": list(range(15_000))}),
    "many wrong numbers": said({"numbers": ["a", 1, None, [], {}] * 4_000}),
    "huge number": said('{"value": ' + "9" * 5_000 + "}"),
    "large number": said('{"value": ' + "9" * 4_000 + "}"),
    "infinite number": said('{"value": 1e400}'),
    "a pattern that backtracks": said({"word": "a" * 80 + "b"}),
    "a schema that branches": said({"chain": chain(MAX_DEPTH - 3)}),
    "half a surrogate pair": said('{"value": "\\ud800"}'),
    "null bytes": "\x00" * 100_000,
    "spaces": " " * MEGABYTE,
    "fences": "```" * 100_000,
    "half a fence": "```json " + " " * MEGABYTE + "{",
    "brackets that close": "[" * 500 + "]" * 500,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("completion", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("gold", ["a call", "no tool", "none"])
def test_is_judged_wrong(completion, gold):
    golds = {"a call": RECORD.gold, "no tool": [], "none": None}
    verdict = FunctionCall().verify(RECORD.model_copy(update={"gold": golds[gold]}), completion)
    assert "\n" not in verdict.detail
    assert len(verdict.detail) < 600
    if gold == "a call":
        assert verdict.checks["match"] == 0
        assert verdict.detail


def test_depth_and_length_are_limited_exactly():
    right = FunctionCall().verify(RECORD, said('{"value": ' + nested(MAX_DEPTH - 2) + "}"))
    assert right.checks["schema"] == 1
    wrong = FunctionCall().verify(RECORD, said('{"value": ' + nested(MAX_DEPTH - 1) + "}"))
    assert wrong.checks["json"] == 0
    assert f"deeper than {MAX_DEPTH} levels" in wrong.detail
    brackets_in_text = said({"value": "[{" * 50})
    assert read_answer(brackets_in_text).fault == ""
    space = MAX_CHARACTERS - len(said({"value": ""}))
    assert read_answer(said({"value": "a" * space})).fault == ""
    assert "more than" in read_answer(said({"value": "a" * (space + 1)})).fault
    assert len(read_answer(said({}) * MAX_CALLS).calls) == MAX_CALLS
    assert "more than" in read_answer(said({}) * (MAX_CALLS + 1)).fault


def test_text_between_calls_is_extra():
    assert not read_answer(said({}) + "\n \n" + said({})).extra
    assert read_answer(said({}) + " and " + said({})).extra
    assert read_answer(said("oops") + " and " + said({})).extra
    assert not read_answer(said("oops") + said({})).extra


def test_a_tag_within_a_string_is_text():
    (call,) = read_answer(said({"value": "</tool_call>\n<tool_call>{"})).calls
    assert call.arguments == {"value": "</tool_call>\n<tool_call>{"}


@pytest.mark.parametrize("text", ["[1, 2]", '{"a": 1}', "I would call f.", '{"name": "f", "arguments"', "{}"])
def test_what_is_no_call(text):
    answer = read_answer(text)
    assert not answer.fault
    assert not answer.calls


@pytest.mark.parametrize("text", ['{"name": "f", "parameters": {}}', '[{"function": "f"}]', "say </tool_call>"])
def test_what_is_meant_as_a_call(text):
    assert "a call outside" in read_answer(text).fault


def test_a_fenced_call_is_meant_as_a_call():
    assert "a call outside" in read_answer('```json\n{"name": "f", "arguments": {}}\n```').fault
    assert not read_answer("```python\nf()\n```").fault
