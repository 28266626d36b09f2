"""ArcadeDB's Java values as canonical ones, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qwen_lightning.execution.cypher.values import (
    Budget,
    as_duration,
    as_map,
    as_node,
    as_path,
    as_point,
    as_relationship,
    as_temporal,
)

_TEMPORAL = "com.arcadedb.query.opencypher.temporal."


class Reader:
    """Reads values; needs a Java machine that runs."""

    def __init__(self) -> None:
        import jpype

        self._jpype = jpype
        name = jpype.JClass
        self._list, self._map = name("java.util.ArrayList"), name("java.util.LinkedHashMap")
        # The first class that fits decides; what was found once is kept by its own class.
        self._kinds: list[tuple[Any, Callable[[Any, Budget], Any]]] = [
            (name("java.lang.Boolean"), lambda value, _: bool(value)),
            (name("java.lang.String"), lambda value, budget: self._text(str(value), budget)),
            (name("java.math.BigDecimal"), lambda value, _: float(str(value))),
            (name("java.math.BigInteger"), lambda value, _: int(str(value))),
            (name("java.lang.Double"), lambda value, _: float(value)),
            (name("java.lang.Float"), lambda value, _: float(str(value))),
            (name("java.lang.Number"), lambda value, _: int(value)),
            (name("com.arcadedb.graph.Vertex"), self._vertex),
            (name("com.arcadedb.graph.Edge"), self._edge),
            (name("com.arcadedb.query.opencypher.traversal.TraversalPath"), self._path),
            (name(_TEMPORAL + "CypherDuration"), lambda value, _: as_duration(str(value))),
            (name("java.time.Duration"), lambda value, _: as_duration(str(value))),
            (name("java.time.Period"), lambda value, _: as_duration(str(value))),
            (name("java.time.temporal.Temporal"), lambda value, _: as_temporal(str(value))),
            (name("java.util.Map"), self._entries),
            (name("java.lang.Iterable"), lambda value, budget: tuple(self.read(item, budget) for item in value)),
        ]
        self._known: dict[type, Callable[[Any, Budget], Any]] = {}
        self._plain = tuple(
            name(f"java.lang.{kind}") for kind in ("Boolean", "String", "Integer", "Long", "Short", "Double")
        )

    def read(self, value: Any, budget: Budget) -> Any:
        """A Java value in canonical form.

        Raises:
            TooLarge: The budget is spent.
        """
        budget.spend(8)
        # Java's boxed values are subclasses of int and float here, its booleans too.
        if value is None or type(value) in (bool, int, float):
            return value
        if type(value) is str:
            return self._text(value, budget)
        read = self._known.get(type(value))
        if read is None:
            read = next((read for kind, read in self._kinds if isinstance(value, kind)), None)
            if read is None:
                name = str(value.getClass().getName()) if hasattr(value, "getClass") else type(value).__name__
                read = self._temporal if name.startswith(_TEMPORAL) else self._array
            self._known[type(value)] = read
        return read(value, budget)

    def labels(self, vertex: Any) -> tuple[str, ...]:
        """The labels of a vertex: its type, which several labels share as `A~B`."""
        return tuple(sorted(str(vertex.getTypeName()).split("~")))

    def stored(self, record: Any) -> dict[str, Any]:
        """The properties of a vertex or an edge: scalars as Python's, anything else as Java's own."""
        found = {}
        for entry in record.propertiesAsMap().entrySet():
            value = entry.getValue()
            plain = value is not None and isinstance(value, self._plain)
            found[str(entry.getKey())] = self.read(value, Budget()) if plain else value
        return dict(sorted(found.items()))

    def to_java(self, value: Any) -> Any:
        """A value of `stored` for ArcadeDB."""
        return self._jpype.JLong(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def parameters(self, rows: list[dict[str, Any]]) -> Any:
        """The parameter `rows` of a statement."""
        listed = self._list()
        for row in rows:
            entries = self._map()
            for key, value in row.items():
                entries.put(key, self.to_java(value))
            listed.add(entries)
        parameters = self._map()
        parameters.put("rows", listed)
        return parameters

    def _text(self, value: str, budget: Budget) -> str:
        budget.spend(len(value))
        return value

    def _temporal(self, value: Any, budget: Budget) -> Any:
        return as_temporal(str(value))

    def _array(self, value: Any, budget: Budget) -> Any:
        return tuple(self.read(item, budget) for item in value)

    def _properties(self, record: Any, budget: Budget) -> dict[str, Any]:
        return {
            self._text(str(entry.getKey()), budget): self.read(entry.getValue(), budget)
            for entry in record.propertiesAsMap().entrySet()
        }

    def _vertex(self, value: Any, budget: Budget) -> Any:
        return as_node(self.labels(value), self._properties(value, budget))

    def _edge(self, value: Any, budget: Budget) -> Any:
        ends = self._vertex(value.getOutVertex(), budget), self._vertex(value.getInVertex(), budget)
        return as_relationship(str(value.getTypeName()), self._properties(value, budget), *ends)

    def _path(self, value: Any, budget: Budget) -> Any:
        vertices = [self._vertex(vertex, budget) for vertex in value.getVertices()]
        elements: list[Any] = vertices[:1]
        for edge, vertex in zip(value.getEdges(), vertices[1:], strict=True):
            elements += [self._edge(edge, budget), vertex]
        return as_path(elements)

    def _entries(self, value: Any, budget: Budget) -> Any:
        entries = {
            self._text(str(entry.getKey()), budget): self.read(entry.getValue(), budget) for entry in value.entrySet()
        }
        return as_point(entries) if {"srid", "crs"} <= entries.keys() else as_map(entries)
