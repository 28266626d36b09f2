"""Static analysis of a Cypher 5 read query against the graph schema of its record."""

from __future__ import annotations

from dataclasses import dataclass

from qwen_lightning.execution.cypher.binder import Binder
from qwen_lightning.execution.cypher.findings import Literal
from qwen_lightning.execution.cypher.graph_schema import read_schema
from qwen_lightning.execution.cypher.parsing import NotParsed, parse_query
from qwen_lightning.execution.cypher.projections import Projection, SortItem
from qwen_lightning.execution.cypher.trees import children

__all__ = ["Analysis", "Projection", "SortItem", "analyse"]


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is known of a query before it runs.

    Args:
        parses: It is one Cypher 5 read statement that Neo4j would compile.
        references: Every label, relationship type, direction and property fits the schema.
        faults: Everything that is wrong, in words.
        detail: The first of the faults in one line.
        reads: Labels and relationship types of the schema that the result can hang on; where a pattern names none,
            those that it can mean.
        constant: Its result hangs on no data.
        volatile: It calls a function whose value changes from call to call, or from day to day.
        columns: Names of the returned columns; None where it does not parse.
        projection: The outermost RETURN; None for a UNION and where it does not parse.
        order_dependent: A cut without an order, or collect() of unordered rows, can change its result.
        literals: (label or type, property, value) where a property is compared with a literal.
    """

    parses: bool
    references: bool = False
    faults: tuple[str, ...] = ()
    detail: str = ""
    reads: frozenset[str] = frozenset()
    constant: bool = False
    volatile: bool = False
    columns: tuple[str, ...] | None = None
    projection: Projection | None = None
    order_dependent: bool = False
    literals: frozenset[tuple[str, str, Literal]] = frozenset()

    @property
    def ordered(self) -> bool:
        """Whether the outermost RETURN orders its rows."""
        return self.projection is not None and bool(self.projection.order_by)


def analyse(query: str, schema: str) -> Analysis:
    """Analyse one query.

    Raises:
        DataError: The schema names no label.
    """
    known = read_schema(schema)
    try:
        parsed = parse_query(query)
    except NotParsed as error:
        fault = f"does not parse: {error}"
        return Analysis(False, faults=(fault,), detail=fault)
    binder = Binder(parsed, known)
    try:
        columns = binder.query(parsed.tree, {}, {})
    except RecursionError:
        fault = "does not parse: nested too deeply"
        return Analysis(False, faults=(fault,), detail=fault)
    found = binder.findings
    singles = children(parsed.tree, "single")
    last = children(singles[0])[-1]
    returned = children(last, "projection") if last.data == "return_clause" and len(singles) == 1 else []
    faults = (*found.refused, *found.missing)
    return Analysis(
        not found.refused,
        references=not found.missing,
        faults=faults,
        detail="; ".join(faults[:3]),
        reads=frozenset(found.reads & (set(known.labels) | set(known.types))),
        constant=not found.reads or (bool(columns) and all(value.constant for value in columns.values())),
        volatile=found.volatile,
        columns=tuple(columns),
        projection=binder.projections.facts(returned[0], tuple(columns)) if returned else None,
        order_dependent=found.order_dependent,
        literals=frozenset(found.literals),
    )
