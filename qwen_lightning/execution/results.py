"""Results of queries: their limits, and what a gold's result asks of another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen_lightning.errors import QueryError
from qwen_lightning.execution.base import Limits
from qwen_lightning.execution.same_result import Row, same_result

MAX_ROWS = 10_000
MAX_BYTES = 5_000_000
#: What a result may be that is compared.
JUDGED = Limits(MAX_ROWS, MAX_BYTES)
_AT_ONCE = 500  # rows fetched
# Bytes that a fetch may be expected to bring; the first one brings a single row.
_BYTES_AT_ONCE = 250_000


@dataclass(frozen=True, slots=True)
class Result:
    """Rows of a query, or why there are none: `fault` is the query's doing, `gap` the engine's.

    Args:
        rows: The rows.
        width: How many columns they have.
        columns: Their names; none where the engine does not tell.
        fault: Why the query fails.
        gap: What the engine lacks.
        cut: Which limit cut rows off.
    """

    rows: list[Row] = field(default_factory=list)
    width: int = 0
    columns: tuple[str, ...] = ()
    fault: str = ""
    gap: str = ""
    cut: str = ""

    @property
    def shown(self) -> list[Row]:
        """The rows that there are.

        Raises:
            QueryError: The first one alone is beyond the limits.
        """
        if self.cut and not self.rows:
            raise QueryError(f"its first row is {self.cut}; select less of it")
        return self.rows

    @property
    def whole(self) -> Result:
        """The same, where a result that was cut is a fault."""
        return Result(fault=self.cut) if self.cut else self


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


def take(fetch: Callable[[int], Sequence[Row]], limits: Limits) -> tuple[list[Row], str]:
    """Rows as far as the limits allow, and which limit cut others off.

    Args:
        fetch: The next rows, at most so many; none where the result ends.
        limits: How much is taken; size counts characters, and eight bytes for anything else.
    """
    rows: list[Row] = []
    size, next_rows = 0, 1
    while chunk := fetch(min(next_rows, limits.rows + 1 - len(rows))):
        most = 1  # of this chunk alone: one wide row does not make all later ones come singly
        for row in chunk:
            bytes_of_row = sum(map(_size, row))
            size, most = size + bytes_of_row, max(most, bytes_of_row)
            if len(rows) == limits.rows:
                return rows, too_many(limits)
            if size > limits.size:
                return rows, too_large(limits)
            rows.append(row)
        # Twice as many as before at most, so that rows which grow are noticed in time.
        next_rows = max(1, min(_AT_ONCE, 2 * next_rows, _BYTES_AT_ONCE // most))
    return rows, ""


def too_many(limits: Limits) -> str:
    """What a result is that has more rows."""
    return f"more than {limits.rows} rows"


def too_large(limits: Limits) -> str:
    """What a result is that has more bytes."""
    return f"more than {limits.size / 1_000_000:g} MB"


def _size(value: Any) -> int:
    if isinstance(value, (str, bytes)):
        return len(value)
    return 8 * (len(value) + 1) if isinstance(value, (list, tuple, dict)) else 8


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
