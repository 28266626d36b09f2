"""JSON as RFC 8259 has it, from text that a model wrote."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 64
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


class NotJSON(ValueError):
    """A text that is not one JSON value and nothing else."""


def parse(text: str) -> Any:
    """Decode a text that is one JSON value, white space around it allowed.

    Raises:
        NotJSON: It is none, names a member twice, holds NaN or a number beyond a double, or nests deeper than 64.
    """
    if text.count("{") + text.count("[") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise NotJSON(f"nested deeper than {MAX_DEPTH}")
    try:
        return DECODER.decode(text)
    except NotJSON:
        raise
    except json.JSONDecodeError as error:
        raise NotJSON(f"{error.msg} at character {error.pos}") from None
    except ValueError as error:  # an integer with more digits than Python reads
        raise NotJSON(str(error)) from None


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in _STRING.sub("", text):
        if char in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}]":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise NotJSON(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return made


def _constant(name: str) -> None:
    raise NotJSON(f"{name} is no JSON number")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotJSON(f"{digits[:40]} is beyond a double")
    return value


#: Reads one value as `parse` does, whatever its depth; for values that stand within a text.
DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
