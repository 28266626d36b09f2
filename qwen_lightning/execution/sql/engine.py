"""What a database engine offers to the judge: databases in several variants, and queries run on them within limits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from qwen_lightning.execution.results import MAX_BYTES, MAX_ROWS, Result
from qwen_lightning.execution.sql.binding import Call
from qwen_lightning.execution.sql.parsing import Parsed
from qwen_lightning.execution.sql.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Runnable:
    """A query as the engine needs it: the parse, and what the binder found out about calls and columns, by position."""

    parsed: Parsed
    calls: Mapping[int, Call] = field(default_factory=dict)
    dependent: Set[int] = frozenset()
    translated: list[str] = field(default_factory=list, compare=False)


class Engine(ABC):
    """Lives in a worker process. It freezes the clock: `now()` is the same in every query, so that results compare."""

    @abstractmethod
    def variants(self, database: str) -> Sequence[str]:
        """Names of the variants of a database, the original first; loads it on first use.

        Raises:
            DataError: There is no such database, or it cannot be read.
        """

    @abstractmethod
    def directed(self, database: str, wanted: Wanted, seed: int) -> str | None:
        """Name of a variant made for a query that looks for these values; None where the engine has no variants."""

    @abstractmethod
    def shuffled(self, database: str) -> str | None:
        """Name of the original with its rows in another order; None where the engine has no variants."""

    @abstractmethod
    def drop(self, variant: str) -> None:
        """Forget a directed variant."""

    @abstractmethod
    def run(self, variant: str, query: Runnable) -> Result:
        """Run a query that passed the static analysis. Never raises for what the query does."""

    @abstractmethod
    def interrupt(self) -> None:
        """Stop the query that runs, from another thread."""

    @property
    @abstractmethod
    def note(self) -> str:
        """What a verdict's detail says about this engine's matches; empty where there is nothing to say."""


def cap(fetched: list[tuple[Any, ...]], total: int) -> str:
    """Why a result is too large to compare, or empty."""
    if total > MAX_ROWS:
        return f"more than {MAX_ROWS} rows"
    size = 0
    for row in fetched:
        for value in row:
            size += (
                len(value)
                if isinstance(value, (str, bytes))
                else 8 * (len(value) + 1)
                if isinstance(value, (list, tuple, dict))
                else 8
            )
        if size > MAX_BYTES:
            return f"more than {MAX_BYTES // 1_000_000} MB"
    return ""
