"""Static analysis of a Cypher 5 read query against the graph schema of its record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SortItem:
    """One item of the outermost ORDER BY.

    Args:
        text: The expression as written.
        descending: DESC.
        column: Index of the returned column that it is, by alias or by the same text; None for another expression.
        key_text: The expression with returned aliases replaced by what they stand for, so that it can stand as a
            further item of the same RETURN; None where it cannot (after DISTINCT).
    """

    text: str
    descending: bool
    column: int | None
    key_text: str | None


@dataclass(frozen=True, slots=True)
class Projection:
    """The outermost RETURN of a query that is no UNION, with offsets into the query's text.

    Args:
        items_end: Where the last returned item ends: `, expression AS alias` may be put in here.
        order_by: Its sort items.
        cut_start: Where SKIP or LIMIT starts; the end of the query where there is none.
        cut_end: Where the last of them ends.
        limit_text: The expression of LIMIT; None without one.
        skip_text: The expression of SKIP or OFFSET; None without one.
        distinct: RETURN DISTINCT.
        aggregated: An item holds an aggregate function, so that the others are grouping keys.
        star: RETURN *.
    """

    items_end: int
    order_by: tuple[SortItem, ...]
    cut_start: int
    cut_end: int
    limit_text: str | None
    skip_text: str | None
    distinct: bool
    aggregated: bool
    star: bool


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
    literals: frozenset[tuple[str, str, str | int | float | bool]] = frozenset()

    @property
    def ordered(self) -> bool:
        """Whether the outermost RETURN orders its rows."""
        return self.projection is not None and bool(self.projection.order_by)
