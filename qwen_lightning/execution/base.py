"""The interface between a task and the place where model-written queries run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from qwen_lightning.errors import ExecutionError


@dataclass(frozen=True, slots=True)
class QueryJob:
    """One query to judge.

    Args:
        query: The model's query text.
        schema: The record's schema text (DDL, or graph schema).
        dialect: `postgres` for SQL.
        gold: The right query; None means no match check.
        database: Name of the database to run on; None means static checks alone.
        question: The user's words, against constants that pass for a query.
    """

    query: str
    schema: str
    dialect: str
    gold: str | None = None
    database: str | None = None
    question: str = ""


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """What became of a query. None means that the check could not be made.

    Args:
        parses: One statement that the language's grammar takes and that is a read.
        references: Every table and column (label, type, property) stands in the schema.
        dialect: Only syntax and functions of the dialect are used.
        executes: It ran without an error within its limits.
        match: Its result equals the gold's on every variant of the data.
        gap: What the engine lacks, where that made `executes` or `match` None; else empty.
        detail: One line that says why a check failed or was not made.
        variants: On how many variants of the data `match` was decided.
    """

    parses: bool
    references: bool | None = None
    dialect: bool | None = None
    executes: bool | None = None
    match: bool | None = None
    gap: str = ""
    detail: str = ""
    variants: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a result is kept.

    Args:
        rows: Most rows.
        size: Most bytes.
    """

    rows: int
    size: int


#: What a result may be that is shown to someone.
SHOWN = Limits(1000, 1_000_000)


@dataclass(frozen=True, slots=True)
class DatabaseJob:
    """Something that is asked of a database, without judging it.

    Args:
        action: `describe`: its schema text; `explain`: whether it takes the query; `run`: the query's result.
        database: Its name.
        query: The query's text.
        limits: How much of the result is kept.
    """

    action: Literal["describe", "explain", "run"]
    database: str
    query: str = ""
    limits: Limits = SHOWN


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a database takes a query.

    Args:
        accepted: None where that is not known: the engine stands in for another one and lacks what the query needs, or
            the query was not planned in time.
        detail: Why not, in one line.
    """

    accepted: bool | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class QueryTable:
    r"""A query's result in JSON's values.

    Numbers are JSON numbers where a double holds them exactly, else their text; dates, times and durations are ISO
    8601, Postgres's infinite and far ones its own text; bytes are `\x` and hexadecimal digits; nodes, relationships and
    paths are objects. From DuckDB a month of a duration is 30 days and infinite times are the calendar's ends; from
    graphs times end at the microsecond and name no zone.

    Args:
        columns: Names, in order; they may repeat.
        rows: One list a row, as long as `columns`.
        truncated: Whether the limits cut rows off.
        seconds: How long the database took.
    """

    columns: tuple[str, ...]
    rows: list[list[Any]]
    truncated: bool
    seconds: float


class QueryExecutor(ABC):
    """Judges queries on a database. Starts lazily at the first job, so building one costs nothing.

    One that only judges is enough to train with; the server needs `database_names`, `describe`, `explain` and `run`.
    """

    @abstractmethod
    def judge(self, job: QueryJob) -> QueryOutcome:
        """Judge one query. Thread-safe; blocks until the verdict or the deadline.

        Raises:
            ExecutionError: The executor cannot work; the message says how to start it.
        """

    @abstractmethod
    def has_database(self, name: str) -> bool:
        """Whether the named database can be run on."""

    @abstractmethod
    def close(self) -> None:
        """Stop workers and connections."""

    def database_names(self) -> list[str]:
        """The databases that can be run on, sorted.

        Raises:
            ExecutionError: The executor cannot work, or does not tell.
        """
        self._lacks("database_names")

    def describe(self, database: str) -> str:
        """The schema of a database as a record's `schema` holds it; empty where it holds no table and no node.

        Raises:
            DataError: There is no such database, or it cannot be read.
            ExecutionError: The executor cannot work, or does not tell.
        """
        self._lacks("describe")

    def explain(self, database: str, query: str) -> Explanation:
        """Whether a database takes a query, which is not run. Thread-safe.

        Raises:
            DataError: There is no such database, or it cannot be read.
            ExecutionError: The executor cannot work, or does not tell.
        """
        self._lacks("explain")

    def run(self, database: str, query: str, limits: Limits = SHOWN) -> QueryTable:
        """Run a query that reads, within the executor's limit of time. Thread-safe.

        Raises:
            QueryError: The database does not take the query, or it does not end in time.
            DataError: There is no such database, or it cannot be read.
            ExecutionError: The executor cannot work, or does not run queries.
        """
        self._lacks("run")

    def _lacks(self, method: str) -> NoReturn:
        raise ExecutionError(f"{type(self).__name__} has no method {method}; it judges queries, and cannot be served")
