"""The interface between a task and the place where model-written queries run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


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


class QueryExecutor(ABC):
    """Judges queries on a database. Starts lazily at the first job, so building one costs nothing."""

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
