"""What the tasks share whose completion is one query."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

from qwen_lightning.execution.base import QueryExecutor, QueryJob, QueryOutcome
from qwen_lightning.records import CypherRecord, SQLRecord
from qwen_lightning.tasks.base import VerifiedTask
from qwen_lightning.verdict import Verdict

#: What an executor finds out, of which a task has some.
_MADE = ("parses", "executes", "references", "dialect", "match")
R = TypeVar("R", SQLRecord, CypherRecord)


class QueryTask(VerifiedTask[R]):
    """Static checks from the record's schema; `executes` and `match` on its database.

    Args:
        executor: Where queries run; None: static checks alone.
    """

    decides = "match"
    implied = frozenset({"executes", "parses"})

    def __init__(self, executor: QueryExecutor | None = None) -> None:
        self.executor = executor

    @abstractmethod
    def dialect(self, record: R) -> str:
        """The query language, as executors name it."""

    @abstractmethod
    def judge_statically(self, job: QueryJob) -> QueryOutcome:
        """The outcome as far as the query's text and the schema decide it.

        Raises:
            DataError: The schema cannot be read.
        """

    def system(self, record: R) -> str:
        return f"{self.rule}\n{record.schema_text}"

    def verify(self, record: R, completion: str) -> Verdict:
        """Judge one completion.

        Raises:
            DataError: The record's schema or database cannot be read.
            ExecutionError: The executor cannot work.
        """
        job = self.job(record, completion)
        runs = self.executor is not None and job.database is not None
        return self.verdict(job, self.executor.judge(job) if runs and self.executor else self.judge_statically(job))

    def job(self, record: R, completion: str) -> QueryJob:
        """The job that an executor judges; without a database that the executor has, a static one."""
        runs = self.executor is not None and record.database is not None and self.executor.has_database(record.database)
        return QueryJob(
            completion,
            record.schema_text,
            self.dialect(record),
            gold=record.gold,
            database=record.database if runs else None,
            question=record.input,
        )

    def verdict(self, job: QueryJob, outcome: QueryOutcome) -> Verdict:
        """An outcome as this task's checks: what could not be made is absent, and a gap of the engine is named."""
        made = {name: getattr(outcome, name) for name in _MADE if name in self.checks}
        checks = {name: float(value) for name, value in made.items() if value is not None}
        wanted = {"executes"} | ({"match"} if job.gold is not None else set()) if job.database is not None else set()
        gaps = frozenset(wanted - checks.keys()) if outcome.gap else frozenset()
        return Verdict(checks, outcome.detail, gaps)

    def close(self) -> None:
        if self.executor is not None:
            self.executor.close()
