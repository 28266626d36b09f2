"""Text to SQL: one statement over the tables of a schema."""

from __future__ import annotations

from qwen_lightning.execution.base import QueryExecutor, QueryJob, QueryOutcome
from qwen_lightning.execution.static import judge_statically
from qwen_lightning.records import SQLRecord
from qwen_lightning.tasks.base import VerifiedTask
from qwen_lightning.verdict import Verdict

_RULE = "Answer with one SQL query and nothing else."


class Text2SQL(VerifiedTask[SQLRecord]):
    """Checks `parses`, `references` and `dialect` from the schema, `executes` and `match` on the record's database.

    Args:
        executor: Where queries run; None: static checks alone.
    """

    name = "text2sql"
    record_type = SQLRecord
    checks = ("parses", "executes", "references", "dialect", "match")
    decides = "match"
    implied = frozenset({"executes", "parses"})

    def __init__(self, executor: QueryExecutor | None = None) -> None:
        self.executor = executor

    def tag(self, record: SQLRecord) -> str:
        return f"[TASK=TEXT2SQL|DIALECT={record.dialect.upper()}]"

    def system(self, record: SQLRecord) -> str:
        return f"{_RULE}\n{record.schema_text}"

    def verify(self, record: SQLRecord, completion: str) -> Verdict:
        """Judge one completion.

        Raises:
            DataError: The record's schema or database cannot be read.
            ExecutionError: The executor cannot work.
        """
        job = self.job(record, completion)
        outcome = judge_statically(job) if self.executor is None or job.database is None else self.executor.judge(job)
        return verdict_of(job, outcome)

    def job(self, record: SQLRecord, completion: str) -> QueryJob:
        """The job that an executor judges; without a database that the executor has, a static one."""
        runs = self.executor is not None and record.database is not None and self.executor.has_database(record.database)
        return QueryJob(
            completion,
            record.schema_text,
            record.dialect,
            gold=record.gold,
            database=record.database if runs else None,
            question=record.input,
        )

    def close(self) -> None:
        if self.executor is not None:
            self.executor.close()


def verdict_of(job: QueryJob, outcome: QueryOutcome) -> Verdict:
    """An outcome as named checks: what could not be made is absent, and a gap of the engine is named."""
    made = {
        "parses": outcome.parses,
        "executes": outcome.executes,
        "references": outcome.references,
        "dialect": outcome.dialect,
        "match": outcome.match,
    }
    checks = {name: float(value) for name, value in made.items() if value is not None}
    wanted = {"executes"} | ({"match"} if job.gold is not None else set()) if job.database is not None else set()
    gaps = frozenset(wanted - checks.keys()) if outcome.gap else frozenset()
    return Verdict(checks, outcome.detail, gaps)
