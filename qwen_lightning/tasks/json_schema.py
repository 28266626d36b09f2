"""JSON Schema, draft 2020-12: validators with bounded work, kept by the content of their schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from qwen_lightning.tasks.schema_keywords import CLASSES, Exhausted, Rules, found, start_budget
from qwen_lightning.tasks.schema_reading import (
    ADDITIONAL,
    NO_REGISTRY,
    Resolver,
    read_schema,
    read_schema_text,
    shorten,
)

__all__ = ["SchemaFault", "Validator", "read_schema", "validator"]


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
        self._validator = CLASSES[rules](schema, registry=NO_REGISTRY)
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
                    yield SchemaFault("$", f"{shorten(repr(name))} is not declared")
        for error in self._validator.iter_errors(value):
            yield SchemaFault(shorten(error.json_path), shorten(error.message))


def validator(schema: Mapping[str, Any], rules: Rules = "all", closed: bool = False) -> Validator:
    """The validator of a schema, kept by the schema's content.

    Raises:
        DataError: The schema is broken; the message names the place in it.
    """
    return _validator(json.dumps(schema), rules, closed)


@lru_cache(maxsize=8192)
def _validator(text: str, rules: Rules, closed: bool) -> Validator:
    return Validator(read_schema_text(text), rules, closed)


@dataclass(frozen=True, slots=True)
class _Declared:
    """The names that a schema's top level declares, in any of its branches."""

    names: frozenset[str]
    patterns: tuple[str, ...]
    open: bool

    @classmethod
    def of(cls, schema: dict[str, Any]) -> _Declared:
        resolver, parts, seen = Resolver(schema), [schema], {id(schema)}
        for part in parts:
            below = [item for item in resolver.in_place(part) if isinstance(item, dict) and id(item) not in seen]
            seen.update(map(id, below))
            parts.extend(below)
        return cls(
            frozenset(name for part in parts for name in part.get("properties", ())),
            tuple(pattern for part in parts for pattern in part.get("patternProperties", ())),
            any(part.get(word, False) is not False for part in parts for word in ADDITIONAL),
        )

    def has(self, name: str) -> bool:
        return self.open or name in self.names or any(found(pattern, name) for pattern in self.patterns)
