"""JSON Schema's keywords with bounded work, and the sets of them that verdicts tell apart.

The library's own keywords take patterns that backtrack for ever, `$ref`s that branch without end and arrays that are
compared pair by pair. A model's answer must not hang its judge, so these keywords are ours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Literal

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import create

Rules = Literal["all", "optional", "types", "exact_types", "required"]
Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError]]

MAX_REFERENCES = 2_000
#: A pattern that takes longer than this backtracks; ordinary ones take microseconds.
PATTERN_SECONDS = 0.5


class Exhausted(Exception):
    """A value that takes more steps to validate than an answer may."""


class _Budget(threading.local):
    references = 0


_budget = _Budget()


def start_budget() -> None:
    """Give the calling thread the steps of one validation."""
    _budget.references = MAX_REFERENCES


def found(pattern: str, text: str) -> bool:
    """Whether the pattern occurs in the text.

    Raises:
        Exhausted: The search backtracks for longer than `PATTERN_SECONDS`.
    """
    try:
        return regex.search(pattern, text, timeout=PATTERN_SECONDS) is not None
    except TimeoutError:
        raise Exhausted(f"the pattern {pattern!r} takes too long") from None


def _counted(keyword: Keyword) -> Keyword:
    def follow(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        _budget.references -= 1
        if _budget.references < 0:
            raise Exhausted("takes too many steps to validate")
        yield from keyword(validator, reference, instance, schema)

    return follow


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not found(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if found(pattern, name):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, additional: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    declared, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in declared or any(found(pattern, name) for pattern in patterns):
            continue
        if additional is False:
            yield ValidationError(f"{name!r} is not declared")
        else:
            yield from validator.descend(value, additional, path=name)


def _declared_additional_properties(
    validator: Any, additional: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    """What is not declared has no declared type."""
    if additional is not False:
        yield from _additional_properties(validator, additional, instance, schema)


def _unique_items(validator: Any, unique: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if unique and isinstance(instance, list) and len(set(map(_key, instance))) < len(instance):
        yield ValidationError("has elements that are not unique")


def _multiple_of(validator: Any, divisor: int | float, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Exact: 0.07 is a multiple of 0.01, and an integer beyond a double is no fault of the judge."""
    if validator.is_type(instance, "number") and Fraction(str(instance)) % Fraction(str(divisor)):
        yield ValidationError(f"is not a multiple of {divisor}")


def _key(value: Any) -> Any:
    """A hashable stand-in: equal for values that JSON Schema takes for equal."""
    if isinstance(value, dict):
        return "object", frozenset((name, _key(item)) for name, item in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_key, value))
    return isinstance(value, bool), value


_LIBRARY: dict[str, Any] = dict(Draft202012Validator.VALIDATORS)
_ALL = _LIBRARY | {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    "multipleOf": _multiple_of,
    "$ref": _counted(_LIBRARY["$ref"]),
    "$dynamicRef": _counted(_LIBRARY["$dynamicRef"]),
}
# Without enum and bounds several branches of a oneOf may hold: there it is an anyOf.
_BRANCHES = {name: _ALL[name] for name in ("$ref", "$dynamicRef", "allOf", "anyOf")} | {"oneOf": _ALL["anyOf"]}
_TYPES = _BRANCHES | {name: _ALL[name] for name in ("type", "properties", "patternProperties", "items", "prefixItems")}
_TYPES["additionalProperties"] = _declared_additional_properties
_KEYWORDS: dict[Rules, Mapping[str, Any]] = {
    "all": _ALL,
    "optional": {name: keyword for name, keyword in _ALL.items() if name not in ("required", "dependentRequired")},
    "types": _TYPES,
    "exact_types": _TYPES,
    "required": _BRANCHES | {"required": _ALL["required"]},
}
_CHECKER = Draft202012Validator.TYPE_CHECKER
_EXACT_CHECKER = _CHECKER.redefine("integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool))

#: A validator class for each set of rules; what holds under `all` holds under `optional`, `types` and `required`.
CLASSES: Mapping[Rules, Any] = {
    rules: create(
        Draft202012Validator.META_SCHEMA, keywords, type_checker=_EXACT_CHECKER if rules == "exact_types" else _CHECKER
    )
    for rules, keywords in _KEYWORDS.items()
}
