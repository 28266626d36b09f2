"""The checks that need no database, made in the process that asks."""

from __future__ import annotations

from qwen_lightning.execution.base import QueryJob, QueryOutcome
from qwen_lightning.execution.sql.analysis import analyse
from qwen_lightning.execution.sql.judge import static_outcome


def judge_statically(job: QueryJob) -> QueryOutcome:
    """The outcome of a query as far as its text and the schema decide it.

    Raises:
        DataError: The schema cannot be read.
    """
    return static_outcome(job, analyse(job.query, job.schema, job.dialect))
