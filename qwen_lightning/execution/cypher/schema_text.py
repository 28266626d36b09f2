"""The schema text of a graph, in the layout of Neo4j's own tools."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qwen_lightning.execution.cypher.graph import Graph
from qwen_lightning.execution.cypher.values import Structure

_PLAIN = re.compile(r"[^\W\d]\w*")

# The first that fits decides.
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "BOOLEAN"), (int, "INTEGER"), (float, "FLOAT"), (str, "STRING"), (datetime.datetime, "DATE_TIME"),
    (datetime.date, "DATE"), (bytes, "BYTES"), (tuple, "LIST"),
)  # fmt: skip
_STRUCTURES = {"(time)": "TIME", "(duration)": "DURATION", "(point)": "POINT"}


def type_name(value: Any) -> str:
    """The name of a canonical value's type, as Neo4j's tools write it."""
    if isinstance(value, Structure):
        return _STRUCTURES.get(value[0], "ANY")
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "ANY")


@dataclass(slots=True)
class Inventory:
    """What a graph holds.

    Args:
        labels: Label to its properties, each with the name of its type.
        types: Relationship type to its properties, likewise.
        triples: (label, relationship type, label).
    """

    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    types: dict[str, dict[str, str]] = field(default_factory=dict)
    triples: set[tuple[str, str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, graph: Graph, type_of: Callable[[Any], str]) -> Inventory:
        """What a graph holds.

        Args:
            graph: The graph.
            type_of: The name of a value's type, as Neo4j names types.
        """
        found = cls()
        for node in graph.nodes:
            for label in node.labels:
                note(found.labels.setdefault(label, {}), node.properties, type_of)
        for each in graph.relationships:
            note(found.types.setdefault(each.type, {}), each.properties, type_of)
            for start in graph.nodes[each.start].labels:
                found.triples |= {(start, each.type, end) for end in graph.nodes[each.end].labels}
        return found

    def text(self) -> str:
        """The schema text, as a record's `schema` holds it; empty where there is no label."""
        if not self.labels:
            return ""
        lines = ["Node properties:", *_listed(self.labels)]
        if any(self.types.values()):
            lines += ["Relationship properties:", *_listed({key: kept for key, kept in self.types.items() if kept})]
        lines += ["The relationships:"] if self.triples else []
        lines += [f"(:{_name(start)})-[:{_name(kind)}]->(:{_name(end)})" for start, kind, end in sorted(self.triples)]
        return "\n".join(lines)


def note(known: dict[str, str], properties: Mapping[str, Any], type_of: Callable[[Any], str]) -> None:
    """Add properties and the types of their values; ANY where a property has several."""
    for key, value in properties.items():
        kind = type_of(value)
        known[key] = kind if known.get(key, kind) == kind else "ANY"


def _listed(owners: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = []
    for owner in sorted(owners):
        lines.append(f"- **{_name(owner)}**")
        lines += [f"  - `{key}`: {kind}" for key, kind in sorted(owners[owner].items())]
    return lines


def _name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f"`{name}`"
