"""A gold as it must be run so that its ties can be told: with its sort keys as columns, and without its LIMIT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qwen_lightning.execution.cypher.analysis import Analysis
from qwen_lightning.execution.results import Expected, Result
from qwen_lightning.execution.same_result import Row, normal


@dataclass(frozen=True, slots=True)
class OrderedGold:
    """The gold with its sort keys appended as columns, and without its SKIP and LIMIT where it has them.

    Args:
        query: The text to run.
        keys: Columns of the sort keys, those that were appended counted from the end.
        extra: How many were appended.
        unlimited: The same without SKIP and LIMIT; None where it has neither.
    """

    query: str
    keys: tuple[int, ...] = ()
    extra: int = 0
    unlimited: str | None = None

    def expected(self, result: Result, run: Callable[[str], Result]) -> Expected:
        """Split what the query with appended keys returned into rows and ties."""
        width = result.width - self.extra
        rows = [row[:width] for row in result.rows]
        full = run(self.unlimited) if self.unlimited is not None and rows else Result()
        if not self.keys:
            if len(full.rows) <= len(rows):
                return Expected(rows, width)
            return Expected(rows, width, [0] * len(rows), {0: [row[:width] for row in full.rows]})
        ties = [self._tie(row) for row in result.rows]
        spare: dict[Any, list[Row]] = {}
        for edge in {ties[0], ties[-1]} if full.rows else ():
            tied = [row[:width] for row in full.rows if self._tie(row) == edge]
            if len(tied) > ties.count(edge):
                spare[edge] = tied
        return Expected(rows, width, ties, spare)

    def _tie(self, row: Row) -> tuple[Any, ...]:
        return tuple(_hashable(normal(row[key])) for key in self.keys)


def ordered_gold(text: str, analysis: Analysis) -> OrderedGold:
    """Prepare a gold by what the analysis knows of its last RETURN; a UNION has no order of its own."""
    projection = analysis.projection
    if projection is None:
        return OrderedGold(text)
    appended: list[str] = []
    columns: list[int | None] = []
    for item in projection.order_by:
        if item.column is None and item.key_text is not None and not projection.star:
            appended.append(item.key_text)
            columns.append(-len(appended))
        else:
            columns.append(None if projection.star else item.column)
    keys = tuple(column for column in columns if column is not None)
    complete = len(keys) == len(columns)
    more = "".join(f", {key} AS `order key {number}`" for number, key in enumerate(appended, start=1))
    more = more if complete else ""
    extra = len(appended) if complete else 0
    # Appended columns are numbered as they stand: the first of them lies furthest from the end.
    keys = tuple(key if key >= 0 else -extra - 1 - key for key in keys) if complete else ()

    def put_in(query: str) -> str:
        return query[: projection.items_end] + more + query[projection.items_end :]

    cut = projection.limit_text is not None or projection.skip_text is not None
    unlimited = put_in(text[: projection.cut_start] + text[projection.cut_end :]) if cut else None
    return OrderedGold(put_in(text), keys, extra, unlimited)


def _hashable(value: Any) -> Any:
    return (value[0], float(value[1])) if value[0] == "number" else value
