"""What is known of a Cypher value before the query runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

# The sets of labels that a node may carry, one of which it does; None where nothing is known.
Labels = frozenset[frozenset[str]]


@dataclass(frozen=True, slots=True)
class Value:
    """A value's kind, and what it can be.

    Args:
        kind: node, relationship, path, list, map, string, number, boolean, temporal, point, null; or any: unknown.
        labels: Of a node; None where nothing is known.
        types: Of a relationship; None where nothing is known.
        element: Of a list.
        fields: Of a map whose keys are all known.
        constant: It hangs on no data.
        stored: It is a property, so no node, relationship or path.
    """

    kind: str = "any"
    labels: Labels | None = None
    types: frozenset[str] | None = None
    element: Value | None = None
    fields: Mapping[str, Value] | None = None
    constant: bool = False
    stored: bool = False


ANY = Value()
NODE = Value("node")
RELATIONSHIP = Value("relationship")
PATH = Value("path")
Scope = dict[str, Value]


def joined(values: Iterable[Value]) -> Value:
    """What is known of a value that is one of several."""
    known = [value for value in values if value.kind != "null"]
    if not known:
        return Value("null", constant=True)
    first, constant = known[0], all(value.constant for value in known)
    if any(value.kind != first.kind for value in known):
        return Value(constant=constant)
    labels, types = first.labels, first.types
    for value in known[1:]:
        labels = None if labels is None or value.labels is None else labels | value.labels
        types = None if types is None or value.types is None else types | value.types
    elements = [value.element for value in known if value.element is not None]
    element = joined(elements) if elements and len(elements) == len(known) else None
    fields = first.fields if len(known) == 1 else None
    return Value(first.kind, labels, types, element, fields, constant)


def list_of(element: Value) -> Value:
    """A list whose elements are such a value."""
    return Value("list", element=element, constant=element.constant)


def varying(value: Value) -> Value:
    """The value, hanging on data."""
    return replace(value, constant=False)
