"""What a database engine offers to the judge: databases in several variants, and queries run on them within limits."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from qwen_lightning.execution.base import Limits
from qwen_lightning.execution.results import JUDGED, Result
from qwen_lightning.execution.sql.binding import Call
from qwen_lightning.execution.sql.parsing import Parsed
from qwen_lightning.execution.sql.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Runnable:
    """A query as the engine needs it: the parse, and what the binder found out about calls and columns, by position.

    `now` is what its clock says, in UTC; None: the engine's frozen one.
    """

    parsed: Parsed
    calls: Mapping[int, Call] = field(default_factory=dict)
    dependent: Set[int] = frozenset()
    now: datetime.datetime | None = None
    translated: list[str] = field(default_factory=list, compare=False)


class Engine(ABC):
    """Lives in a worker process.

    It freezes the clock: `now()` is the same in every query that is judged, so that results compare.
    """

    @abstractmethod
    def original(self, database: str) -> str:
        """Name of the variant that is the database as it is; loads it on first use.

        Raises:
            DataError: There is no such database, or it cannot be read.
        """

    @abstractmethod
    def schema(self, database: str) -> str:
        """The DDL of a database; empty where it has no table.

        Raises:
            DataError: There is no such database, or it cannot be read.
        """

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

    def run(self, variant: str, query: Runnable) -> Result:
        """Run a query that passed the static analysis. Never raises for what the query does."""
        return self.fetch(variant, query, JUDGED).whole

    @abstractmethod
    def fetch(self, variant: str, query: Runnable, limits: Limits) -> Result:
        """The same, with as much of the result as the limits allow."""

    @abstractmethod
    def explain(self, variant: str, query: Runnable) -> Result:
        """No rows, but fault or gap where the query would not be run. Never raises for what the query is."""

    @abstractmethod
    def interrupt(self) -> None:
        """Stop the query that runs, from another thread."""

    @property
    @abstractmethod
    def note(self) -> str:
        """What a verdict's detail says about this engine's matches; empty where there is nothing to say."""
