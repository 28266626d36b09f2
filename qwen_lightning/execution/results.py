"""Results of queries: their limits, and what a gold's result asks of another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen_lightning.execution.same_result import Row, same_result

MAX_ROWS = 10_000
MAX_BYTES = 5_000_000


@dataclass(frozen=True, slots=True)
class Result:
    """Rows of a query, or why there are none: `fault` is the query's doing, `gap` the engine's."""

    rows: list[Row] = field(default_factory=list)
    width: int = 0
    fault: str = ""
    gap: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """A gold's result on one variant.

    Args:
        rows: Its rows.
        width: Its columns.
        ties: One entry a row, equal for neighbours that tie in the gold's order; None where the gold does not order.
        spare: Rows that a LIMIT cut off although they tie with a row that it kept, by the tie's entry.
    """

    rows: list[Row]
    width: int
    ties: list[Any] | None = None
    spare: dict[Any, list[Row]] = field(default_factory=dict)


def same_as_gold(expected: Expected, rows: Sequence[Row]) -> bool:
    """Whether rows are what the gold's result asks for."""
    if len(rows) != len(expected.rows):
        return False
    if not expected.spare:
        return same_result(expected.rows, rows, expected.ties)
    return same_result(expected.rows, rows, expected.ties, expected.spare)


def join(*parts: str) -> str:
    """A verdict's detail from its parts."""
    return "; ".join(part for part in parts if part)
