"""JSON Schema, draft 2020-12: schemas read once, checked whole, and validators kept by their content."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from qwen_lightning.errors import DataError
from qwen_lightning.tasks.schema_keywords import CLASSES, Exhausted, Rules, found, start_budget

MAX_DEPTH = 64
MAX_MESSAGE = 160
#: Names of types in function descriptions that are Python's, not JSON Schema's; None: any type.
PYTHON_TYPES: Mapping[str, str | None] = {"dict": "object", "float": "number", "tuple": "array", "any": None}

_ADDITIONAL = ("additionalProperties", "unevaluatedProperties")
_ONE = frozenset((*_ADDITIONAL, "items", "unevaluatedItems", "contains", "propertyNames", "not", "if", "then", "else"))
_LISTED = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
#: Keywords whose subschemas judge the same value as the schema they stand in.
_IN_PLACE = frozenset(("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"))
_REFERENCES = ("$ref", "$dynamicRef")


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """Where a value breaks its schema, as a JSON path from `$`, and how."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class Validator:
    """Validates values against one schema. Made by `validator`, which keeps it.

    Args:
        schema: A schema that `read_schema` has returned.
        rules: `all` keywords; all but required ones (`optional`); `types` alone, as deep as they are declared, or
            `exact_types`, where 5.0 is no integer; or the value's `required` names alone.
        closed: Names that the top level does not declare are faults, unless it says `additionalProperties` itself.
    """

    def __init__(self, schema: dict[str, Any], rules: Rules = "all", closed: bool = False) -> None:
        self.schema = schema
        self._validator = CLASSES[rules](schema, registry=Registry())
        self._declared = _Declared.of(schema) if closed else None

    def errors(self, value: Any, limit: int = 10) -> list[SchemaFault]:
        """The first faults of a decoded JSON value; a value that takes too long to validate has one that says so."""
        start_budget()
        faults: list[SchemaFault] = []
        try:
            faults.extend(islice(self._faults(value), limit))
        except Exhausted as error:
            faults.append(SchemaFault("$", str(error)))
        except RecursionError:
            faults.append(SchemaFault("$", "is nested too deep to validate"))
        return faults

    def is_valid(self, value: Any) -> bool:
        """Whether the value has no fault."""
        return not self.errors(value, limit=1)

    def _faults(self, value: Any) -> Iterator[SchemaFault]:
        if self._declared is not None and isinstance(value, dict):
            for name in value:
                if not self._declared.has(name):
                    yield SchemaFault("$", f"{_short(repr(name))} is not declared")
        for error in self._validator.iter_errors(value):
            yield SchemaFault(_short(error.json_path), _short(error.message))


def validator(schema: Mapping[str, Any], rules: Rules = "all", closed: bool = False) -> Validator:
    """The validator of a schema, kept by the schema's content.

    Raises:
        DataError: The schema is broken; the message names the place in it.
    """
    return _validator(json.dumps(schema), rules, closed)


def read_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as draft 2020-12 has it: Python's type names and OpenAPI's `nullable` translated.

    Raises:
        DataError: The schema is broken; the message names the place in it.
    """
    return _read(json.dumps(schema))


@lru_cache(maxsize=8192)
def _validator(text: str, rules: Rules, closed: bool) -> Validator:
    return Validator(_read(text), rules, closed)


@lru_cache(maxsize=8192)
def _read(text: str) -> dict[str, Any]:
    schema = _translated(json.loads(text))
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise DataError(_explained(error)) from None
    _check_parts(schema)
    return schema


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


def _explained(error: SchemaError) -> str:
    place = ".".join(map(str, error.absolute_path))
    if place.split(".")[-1] == "type":
        return f"{place}: {_short(repr(error.instance))} is no type of JSON Schema"
    return f"{place}: {_short(error.message)}" if place else _short(error.message)


def _check_parts(schema: dict[str, Any]) -> None:
    """Check what the metaschema cannot: patterns, and references that lead nowhere or round in circles.

    Raises:
        DataError: A part is broken; the message names it.
    """
    keywords: set[str] = set()
    resolver = _Resolver(schema)
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


class _Resolver:
    """References inside one schema; none is fetched from elsewhere."""

    def __init__(self, schema: dict[str, Any]) -> None:
        registry: Registry[Any] = Registry()
        self._resolver = registry.resolver_with_root(DRAFT202012.create_resource(schema))

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


@dataclass(frozen=True, slots=True)
class _Declared:
    """The names that a schema's top level declares, in any of its branches."""

    names: frozenset[str]
    patterns: tuple[str, ...]
    open: bool

    @classmethod
    def of(cls, schema: dict[str, Any]) -> _Declared:
        resolver, parts, seen = _Resolver(schema), [schema], {id(schema)}
        for part in parts:
            below = [item for item in resolver.in_place(part) if isinstance(item, dict) and id(item) not in seen]
            seen.update(map(id, below))
            parts.extend(below)
        return cls(
            frozenset(name for part in parts for name in part.get("properties", ())),
            tuple(pattern for part in parts for pattern in part.get("patternProperties", ())),
            any(part.get(word, False) is not False for part in parts for word in _ADDITIONAL),
        )

    def has(self, name: str) -> bool:
        return self.open or name in self.names or any(found(pattern, name) for pattern in self.patterns)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"
