"""The checks of a Cypher query that need no database, made in the process that asks."""

from __future__ import annotations

from qwen_lightning.execution.base import QueryJob, QueryOutcome
from qwen_lightning.execution.cypher.analysis import Analysis, analyse


def judge_statically(job: QueryJob) -> QueryOutcome:
    """The outcome of a query as far as its text and the schema decide it.

    Raises:
        DataError: The schema names no label.
    """
    return static_outcome(job, analyse(job.query, job.schema))


def static_outcome(job: QueryJob, analysis: Analysis) -> QueryOutcome:
    """What the analysis alone decides: every check of a query that does not compile, and its references."""
    if not analysis.parses:
        compares = job.database is not None and job.gold is not None
        return QueryOutcome(
            False,
            references=False,
            executes=False if job.database is not None else None,
            match=False if compares else None,
            detail=analysis.detail,
        )
    references = analysis.references
    if job.gold is None and not analysis.reads:
        references = False
    return QueryOutcome(
        True,
        references=references,
        detail=analysis.detail or ("" if references else "reads no label or relationship type of the schema"),
    )
