"""Pairing and comparison of calls against plain restatements of their rules."""

import itertools
import random

import pytest

from qwen_lightning.records import ToolCall
from qwen_lightning.tasks.call_matching import fold, is_accepted, is_equal, why_no_match
from qwen_lightning.tasks.tool_calls import Call


def test_pairing_is_exact():
    chance, outcomes = random.Random(1), []
    for _ in range(400):
        size = chance.randint(1, 5)
        accept = [{"n": chance.sample(range(4), chance.randint(1, 3))} for _ in range(size)]
        calls = [Call("f", {"n": chance.randrange(4)}) for _ in range(size)]
        gold = [ToolCall(name="f", arguments={"n": item["n"][0]}) for item in accept]
        reason = why_no_match(calls, gold, accept, {"f": {}})
        possible = any(
            all(call.arguments["n"] in item["n"] for call, item in zip(calls, order, strict=True))
            for order in itertools.permutations(accept)
        )
        assert (reason == "") == possible, reason
        outcomes.append(possible)
    assert {True, False} == set(outcomes)


def test_names_pair_only_with_their_own():
    gold = [ToolCall(name="f", arguments={}), ToolCall(name="g", arguments={})]
    both = {"f": {}, "g": {}}
    assert why_no_match([Call("g", {}), Call("f", {})], gold, None, both) == ""
    assert "g called, not f" in why_no_match([Call("g", {}), Call("g", {})], gold, None, both)


@pytest.mark.parametrize(
    ("value", "accepted", "same"),
    [
        ("New York", "new york", True),
        ("N.Y., U-S_A/*^", "nyusa", True),
        ("it's", 'it"s', True),
        ("a;b", "ab", False),
        ("10", 10, False),
        (10, 10.0, True),
        (True, 1, False),
        (0, False, False),
        (None, None, True),
        (None, "", False),
        ([1, "A b"], [1.0, "ab"], True),
        ([1, 2], [2, 1], False),
        ([[1, "X"]], [[1, "x"]], True),
        ({"a": "X"}, {"a": ["x", "y"]}, True),
        ({}, {"a": ["x", ""]}, True),
        ({}, {"a": ["x"]}, False),
        ({"b": 1}, {"a": [""]}, False),
        ({"a": {"b": [{"c": 1}]}}, {"a": [{"b": [[{"c": [1, 2]}]]}]}, True),
        ({"a": {"b": [{"c": 3}]}}, {"a": [{"b": [[{"c": [1, 2]}]]}]}, False),
        (10**400, 10**400, True),
        (10**400, 1.5, False),
    ],
)
def test_accepted_values(value, accepted, same):
    assert is_accepted(value, accepted) is same


@pytest.mark.parametrize(
    ("value", "gold", "same"),
    [
        ("a b", "ab", False),
        (1, 1.0, True),
        (1, True, False),
        ({"a": [1, {"b": 2}]}, {"a": [1.0, {"b": 2}]}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([], {}, False),
    ],
)
def test_equal_values(value, gold, same):
    assert is_equal(value, gold) is same


def test_folding_is_bfcls():
    assert fold("April 1, 2024") == fold("april 1 2024") == "april12024"
    assert fold("a;b:c!") == "a;b:c!"


PARAMETERS = {"properties": {"unit": {"default": "km"}, "n": {}, "strict": {"default": False}, "off": False}}


@pytest.mark.parametrize(
    ("given", "gold", "reason"),
    [
        ({"n": 1, "unit": "km"}, {"n": 1}, ""),
        ({"n": 1}, {"n": 1, "unit": "km"}, ""),
        ({"n": 1, "unit": "mi"}, {"n": 1}, "'unit' is not among gold's"),
        ({"n": 1}, {"n": 1, "unit": "mi"}, "'unit' is missing"),
        ({"n": 1, "strict": 0}, {"n": 1}, "'strict'"),
        ({}, {"n": 1}, "'n' is missing"),
    ],
)
def test_without_accepted_values_a_default_equals_what_is_left_out(given, gold, reason):
    found = why_no_match([Call("f", given)], [ToolCall(name="f", arguments=gold)], None, {"f": PARAMETERS})
    assert reason in found
    assert bool(found) == bool(reason)
