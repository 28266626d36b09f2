"""The JSON Schema of a record's slots, as slots are judged by it."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from qwen_lightning.tasks.json_schema import SchemaFault, read_schema, validator
from qwen_lightning.tasks.slot_values import canonical

_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
#: Keywords that build one object out of several schemas: what such an object declares is in no one place.
_COMPOSING = frozenset(("allOf", "if", "dependentSchemas"))
_REQUIRING = frozenset(("required", "dependentRequired"))
_VERBATIM = frozenset(("enum", "const", "if", "not"))
_BRANCHING = frozenset(("$ref", "$dynamicRef", "anyOf", "oneOf"))


class SlotSchema:
    """A slots schema in which nothing is required, and no object takes a name that it does not declare.

    Requirements go, and with them the difference between `oneOf` and `anyOf`; in `if` and `not` they stay, where they
    tell cases apart. The top level takes declared names alone. An object within is open where it lists no `properties`,
    says `additionalProperties` itself, or is composed of several schemas.

    Args:
        schema: JSON Schema of an object with `properties`.

    Raises:
        DataError: The schema is broken; the message names the place in it.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        plain = read_schema(schema)
        parts = list(_subschemas(plain))
        top = {keyword: value for keyword, value in plain.items() if keyword != "additionalProperties"}
        closed = not any(_is_composed(part) for part in parts)
        self._validator = validator(_relaxed(top, closed), closed=True)
        self.listed: frozenset[Hashable] = frozenset(
            canonical(value)
            for part in parts
            for value in [*part.get("enum", ()), *([part["const"]] if "const" in part else ())]
        )

    def fault(self, slots: Mapping[str, Any]) -> SchemaFault | None:
        """The first fault of an object of slots; None where it has none."""
        return next(iter(self._validator.errors(slots, limit=1)), None)

    def takes(self, path: tuple[str, ...], value: Any) -> bool:
        """Whether an object may hold this value, and nothing else, at a path of names."""
        for name in reversed(path):
            value = {name: value}
        return self._validator.is_valid(value)


def slot_schema(schema: Mapping[str, Any]) -> SlotSchema:
    """The schema of these slots, kept by its content.

    Raises:
        DataError: The schema is broken.
    """
    return _read(json.dumps(schema))


@lru_cache(maxsize=4096)
def _read(text: str) -> SlotSchema:
    return SlotSchema(json.loads(text))


def _subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema that is an object, this one first."""
    if isinstance(schema, list):
        for item in schema:
            yield from _subschemas(item)
    elif isinstance(schema, dict):
        yield schema
        for keyword, value in schema.items():
            if keyword in _NAMED:
                for part in value.values():
                    yield from _subschemas(part)
            elif keyword not in ("enum", "const"):
                yield from _subschemas(value)


def _is_composed(schema: Mapping[str, Any]) -> bool:
    return not _COMPOSING.isdisjoint(schema) or ("properties" in schema and not _BRANCHING.isdisjoint(schema))


def _relaxed(schema: Any, closed: bool) -> Any:
    """A copy without requirements, in which, where `closed`, an object takes only the properties that it lists."""
    if isinstance(schema, list):
        return [_relaxed(item, closed) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _NAMED:
            made[keyword] = {name: _relaxed(part, closed) for name, part in value.items()}
        elif keyword == "oneOf":
            made.setdefault("allOf", []).append({"anyOf": _relaxed(value, closed)})
        elif keyword == "allOf":
            made.setdefault("allOf", []).extend(_relaxed(value, closed))
        elif keyword in _VERBATIM:
            made[keyword] = value
        elif keyword not in _REQUIRING:
            made[keyword] = _relaxed(value, closed)
    return {"additionalProperties": False, **made} if closed and "properties" in made else made
