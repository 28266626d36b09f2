"""JSON Schema, draft 2020-12, as tool descriptions write it: translated, and checked before it judges anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from qwen_lightning.errors import DataError

MAX_DEPTH = 64
MAX_MESSAGE = 160
#: Names of types in function descriptions that are Python's, not JSON Schema's; None: any type.
PYTHON_TYPES: Mapping[str, str | None] = {"dict": "object", "float": "number", "tuple": "array", "any": None}

ADDITIONAL = ("additionalProperties", "unevaluatedProperties")
_ONE = frozenset((*ADDITIONAL, "items", "unevaluatedItems", "contains", "propertyNames", "not", "if", "then", "else"))
_LISTED = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
#: Keywords whose subschemas judge the same value as the schema they stand in.
_IN_PLACE = frozenset(("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"))
_REFERENCES = ("$ref", "$dynamicRef")
#: No schema is fetched from anywhere.
NO_REGISTRY: Registry[Any] = Registry()
_NUMBERS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
_COUNTS = frozenset(
    ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "minContains", "maxContains")
)
_TYPES = frozenset(("string", "integer", "number", "boolean", "null", "array", "object"))


def read_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as draft 2020-12 has it: Python's type names and OpenAPI's `nullable` translated.

    Raises:
        DataError: The schema is broken; the message names the place in it.
    """
    return read_schema_text(json.dumps(schema))


@lru_cache(maxsize=8192)
def read_schema_text(text: str) -> dict[str, Any]:
    """What `read_schema` returns, from the schema's JSON, whose last readings are kept."""
    schema = _translated(json.loads(text))
    if not _is_plain(schema):
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise DataError(_explained(error)) from None
    _check_parts(schema)
    return schema


def shorten(text: str) -> str:
    """A message on one line, cut to `MAX_MESSAGE` characters."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"


def _translated(schema: Any, depth: int = 0) -> Any:
    """A copy with known names of types, without annotations that would only cost time to check."""
    if not isinstance(schema, dict):
        return schema
    if depth > MAX_DEPTH:
        raise DataError(f"is nested deeper than {MAX_DEPTH} levels")
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _ONE:
            made[keyword] = _translated(value, depth + 1)
        elif keyword in _LISTED and isinstance(value, list):
            made[keyword] = [_translated(item, depth + 1) for item in value]
        elif keyword in _NAMED and isinstance(value, dict):
            made[keyword] = {name: _translated(item, depth + 1) for name, item in value.items()}
        elif keyword == "type":
            made |= _type(value)
        elif keyword not in ("$schema", "description", "title", "default", "examples", "nullable"):
            made[keyword] = value
    if schema.get("nullable") is True:
        if isinstance(types := made.get("type"), str | list):
            made["type"] = [*dict.fromkeys([*([types] if isinstance(types, str) else types), "null"])]
        if isinstance(made.get("enum"), list) and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
    return made


def _type(value: Any) -> dict[str, Any]:
    names = value if isinstance(value, list) else [value]
    known = [PYTHON_TYPES.get(name, name) if isinstance(name, str) else name for name in names]
    if None in known and None not in names:
        return {}
    return {"type": known if isinstance(value, list) else known[0]}


def _is_plain(schema: Any) -> bool:
    """Whether a schema is seen to be valid; the metaschema, which takes a thousand times longer, decides the others."""
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    return all((check := _PLAIN.get(keyword)) is not None and check(value) for keyword, value in schema.items())


def _are_plain(schemas: Any) -> bool:
    return isinstance(schemas, list) and bool(schemas) and all(map(_is_plain, schemas))


def _are_plainly_named(schemas: Any) -> bool:
    return isinstance(schemas, dict) and all(map(_is_plain, schemas.values()))


def _are_names(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _are_types(types: Any) -> bool:
    return types in _TYPES if isinstance(types, str) else bool(types) and _are_names(types) and _TYPES.issuperset(types)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_PLAIN: dict[str, Callable[[Any], bool]] = {
    "type": _are_types,
    "required": _are_names,
    "enum": lambda value: isinstance(value, list),
    "const": lambda value: True,
    "optional": lambda value: True,
    "format": lambda value: isinstance(value, str),
    "pattern": lambda value: isinstance(value, str),
    "uniqueItems": lambda value: isinstance(value, bool),
    **dict.fromkeys(_ONE, _is_plain),
    **dict.fromkeys(_LISTED, _are_plain),
    **dict.fromkeys(_NAMED, _are_plainly_named),
    **dict.fromkeys(_NUMBERS, lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    **dict.fromkeys(_COUNTS, _is_count),
}


def _explained(error: SchemaError) -> str:
    place = ".".join(map(str, error.absolute_path))
    if place.split(".")[-1] == "type":
        return f"{place}: {shorten(repr(error.instance))} is no type of JSON Schema"
    return f"{place}: {shorten(error.message)}" if place else shorten(error.message)


def _check_parts(schema: dict[str, Any]) -> None:
    """Check what the metaschema cannot: patterns, and references that lead nowhere or round in circles.

    Raises:
        DataError: A part is broken; the message names it.
    """
    keywords: set[str] = set()
    resolver = Resolver(schema)
    for place, part in _walk(schema):
        keywords |= part.keys()
        for pattern in [*part.get("patternProperties", ()), *([part["pattern"]] if "pattern" in part else [])]:
            try:
                regex.compile(pattern)
            except regex.error as error:
                raise DataError(f"{place}pattern: {pattern!r} is no regular expression: {error}") from None
        for keyword in _REFERENCES:
            if keyword in part:
                resolver.check(part, f"{place}{keyword}")
    if {"unevaluatedProperties", "patternProperties"} <= keywords:
        raise DataError("unevaluatedProperties beside patternProperties is not supported; use additionalProperties")


def _walk(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every subschema that is an object, with its place."""
    if not isinstance(schema, dict):
        return
    yield place, schema
    for keyword, value in schema.items():
        if keyword in _ONE:
            yield from _walk(value, f"{place}{keyword}.")
        elif keyword in _LISTED:
            for position, item in enumerate(value):
                yield from _walk(item, f"{place}{keyword}.{position}.")
        elif keyword in _NAMED:
            for name, item in value.items():
                yield from _walk(item, f"{place}{keyword}.{name}.")


class Resolver:
    """References inside one schema; none is fetched from elsewhere."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema

    @cached_property
    def _resolver(self) -> Any:
        return NO_REGISTRY.resolver_with_root(DRAFT202012.create_resource(self._schema))

    def in_place(self, schema: Any) -> Iterator[Any]:
        """The schemas beneath this one that judge the same value."""
        if not isinstance(schema, dict):
            return
        for keyword, value in schema.items():
            if keyword in _REFERENCES:
                yield self._resolver.lookup(value).contents
            elif keyword in _IN_PLACE:
                yield from value.values() if keyword in _NAMED else value if isinstance(value, list) else [value]

    def check(self, schema: dict[str, Any], place: str) -> None:
        """Follow the schemas that judge one value.

        Raises:
            DataError: A reference leads nowhere, or back to where it stands.
        """
        done: set[int] = set()
        path: list[tuple[int, Iterator[Any]]] = [(id(schema), self.in_place(schema))]
        while path:
            try:
                below = next(path[-1][1], self)
            except Unresolvable:
                raise DataError(f"{place}: leads nowhere in the schema") from None
            if below is self:
                done.add(path.pop()[0])
            elif not isinstance(below, dict | bool):
                raise DataError(f"{place}: leads to what is no schema")
            elif id(below) in (step for step, _ in path):
                raise DataError(f"{place}: refers to itself without end")
            elif id(below) not in done:
                path.append((id(below), self.in_place(below)))
