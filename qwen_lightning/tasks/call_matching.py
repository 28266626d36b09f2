"""Whether calls are gold's: in any order, each by gold's own arguments or by lists of accepted values.

Values compare as the judge of the Berkeley Function-Calling Leaderboard compares them (Patil et al. 2025, `ast_checker`
of bfcl-eval), and deeper than it does: nested objects and lists by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qwen_lightning.errors import DataError
from qwen_lightning.records import ToolCall
from qwen_lightning.tasks.tool_calls import MAX_DEPTH, Call

Accept = Mapping[str, Any]
#: What an accepted list holds where the argument, or the key, may be left out.
LEFT_OUT = ""

_FOLDED = re.compile(r"[ ,./\-_*^]")


def fold(text: str) -> str:
    """A string without what does not count: case, spaces and `,./-_*^`; both quotation marks are one."""
    return _FOLDED.sub("", text).lower().replace("'", '"')


def is_accepted(value: Any, accepted: Any) -> bool:
    """Whether a value is the accepted one; an accepted object holds a list of accepted values for each key."""
    if isinstance(accepted, dict):
        return isinstance(value, dict) and not _refused(value, accepted)
    if isinstance(accepted, list):
        return _pairwise(value, accepted, is_accepted)
    if isinstance(accepted, str):
        return isinstance(value, str) and fold(value) == fold(accepted)
    return is_equal(value, accepted)


def is_equal(value: Any, gold: Any) -> bool:
    """Whether two JSON values are the same; 1 and 1.0 are, 1 and true are not."""
    if isinstance(gold, dict):
        return (
            isinstance(value, dict)
            and value.keys() == gold.keys()
            and all(is_equal(value[name], item) for name, item in gold.items())
        )
    if isinstance(gold, list):
        return _pairwise(value, gold, is_equal)
    return isinstance(value, bool) == isinstance(gold, bool) and bool(value == gold)


def _pairwise(value: Any, gold: list[Any], same: Callable[[Any, Any], bool]) -> bool:
    return isinstance(value, list) and len(value) == len(gold) and all(map(same, value, gold))


def why_not(call: Call, gold: ToolCall, accept: Accept | None, parameters: Mapping[str, Any]) -> str:
    """Why a call is not gold's; empty where it is.

    Args:
        call: A call that satisfies its tool's schema.
        gold: The call it may stand for.
        accept: Accepted values by argument; None: gold's own, and an argument at its default equals one left out.
        parameters: The tool's JSON Schema, for the defaults.
    """
    if call.name != gold.name:
        return f"{call.name} called, not {gold.name}"
    if accept is not None:
        return _refused(call.arguments, accept)
    properties = parameters.get("properties", {})
    for name in [*call.arguments, *(gold.arguments.keys() - call.arguments.keys())]:
        declared = properties.get(name)
        default = [declared["default"]] if isinstance(declared, dict) and "default" in declared else []
        given, wanted = ([side[name]] if name in side else default for side in (call.arguments, gold.arguments))
        if not is_equal(given, wanted):
            return f"argument {_short(name)} {_unequal(call.arguments, gold.arguments, name)}"
    return ""


def _unequal(given: Mapping[str, Any], wanted: Mapping[str, Any], name: str) -> str:
    if name not in given:
        return "is missing"
    return f"is {_short(given[name])}, not {_short(wanted[name])}" if name in wanted else "is not among gold's"


def _refused(given: Mapping[str, Any], accept: Accept) -> str:
    """The first argument, or key, that is not as accepted."""
    for name, value in given.items():
        if name not in accept:
            return f"argument {_short(name)} is not among gold's"
        if not any(is_accepted(value, item) for item in accept[name]):
            return f"argument {_short(name)} is {_short(value)}, not one of {_short(accept[name])}"
    for name, items in accept.items():
        if name not in given and LEFT_OUT not in items:
            return f"argument {_short(name)} is missing"
    return ""


def why_no_match(
    calls: Sequence[Call],
    gold: Sequence[ToolCall],
    accept: Sequence[Accept] | None,
    parameters: Mapping[str, Mapping[str, Any]],
) -> str:
    """Why calls and gold cannot be paired, each call with one of gold's; empty where they can.

    The pairing is exact (augmenting paths): a call that two of gold's accept is given to the one that needs it.

    Args:
        calls: Calls that satisfy the schemas of their tools.
        gold: The right calls.
        accept: For each of gold, the accepted values by argument; None: gold's own.
        parameters: JSON Schema of each tool, by name.
    """
    if len(calls) != len(gold):
        return f"{len(calls)} calls where gold has {len(gold)}"
    reasons = [
        [why_not(call, right, accept[i] if accept is not None else None, parameters[call.name])
         for i, right in enumerate(gold)]
        for call in calls
    ]  # fmt: skip
    taken: dict[int, int] = {}

    def place(call: int, seen: set[int]) -> bool:
        for right, reason in enumerate(reasons[call]):
            if not reason and right not in seen:
                seen.add(right)
                if right not in taken or place(taken[right], seen):
                    taken[right] = call
                    return True
        return False

    unplaced = [number for number in range(len(calls)) if not place(number, set())]
    if not unplaced:
        return ""
    number, free = unplaced[0], [right for right in range(len(gold)) if right not in taken]
    near = next((right for right in free if gold[right].name == calls[number].name), free[0])
    return f"call {number + 1} ({calls[number].name}): {reasons[number][near]}"


def check_accept(accept: Accept, place: str, depth: int = 0) -> None:
    """Check that accepted values are lists, beneath objects too.

    Raises:
        DataError: One is none, or is empty; the message names it.
    """
    for name, values in accept.items():
        if not isinstance(values, list) or not values:
            raise DataError(f'{place}.{name} is no list of accepted values; "" in it means that it may be left out')
        _check_values(values, f"{place}.{name}", depth + 1)


def _check_values(values: list[Any], place: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise DataError(f"{place[:80]}… is nested deeper than {MAX_DEPTH} levels")
    for value in values:
        if isinstance(value, dict):
            check_accept(value, place, depth)
        elif isinstance(value, list):
            _check_values(value, place, depth + 1)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
