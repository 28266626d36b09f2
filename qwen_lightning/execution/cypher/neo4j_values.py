"""The values of the Neo4j driver in canonical form."""

from __future__ import annotations

from typing import Any

from neo4j.graph import Node, Path, Relationship
from neo4j.spatial import Point
from neo4j.time import Date, DateTime, Duration, Time

from qwen_lightning.execution.cypher.values import (
    Budget,
    Structure,
    Unreadable,
    as_duration,
    as_map,
    as_node,
    as_path,
    as_relationship,
    as_temporal,
)

UNREAD = "its result has a value that Neo4j's driver cannot hold (a year outside 1 to 9999)"


def read_value(value: Any, budget: Budget) -> Any:
    """A value of the driver in canonical form.

    Raises:
        TooLarge: The budget is spent.
        Unreadable: The driver could not read it.
    """
    budget.spend(8 + (len(value) if isinstance(value, (str, bytes)) else 0))
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Node):
        return as_node(value.labels, _entries(value, budget))
    if isinstance(value, Relationship):
        ends = read_value(value.start_node, budget), read_value(value.end_node, budget)
        return as_relationship(value.type, _entries(value, budget), *ends)
    if isinstance(value, Path):
        elements: list[Any] = [read_value(value.nodes[0], budget)]
        for relationship, node in zip(value.relationships, value.nodes[1:], strict=True):
            elements += [read_value(relationship, budget), read_value(node, budget)]
        return as_path(elements)
    if isinstance(value, Point):
        return Structure(("(point)", value.srid, *(float(number) for number in value)))
    if isinstance(value, Duration):
        return as_duration(value.iso_format())
    if isinstance(value, (Date, DateTime, Time)):
        return as_temporal(value.iso_format())
    if isinstance(value, dict):
        return as_map({key: read_value(item, budget) for key, item in value.items()})
    if not isinstance(value, (list, tuple)):  # the driver puts something of its own where it fails within a list
        raise Unreadable(UNREAD)
    return tuple(read_value(item, budget) for item in value)


def _entries(value: Any, budget: Budget) -> dict[str, Any]:
    return {key: read_value(item, budget) for key, item in value.items()}
