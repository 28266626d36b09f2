"""An executor whose work a pool of worker processes does."""

from __future__ import annotations

from qwen_lightning.errors import QueryError
from qwen_lightning.execution.base import (
    SHOWN,
    DatabaseJob,
    Explanation,
    Limits,
    QueryExecutor,
    QueryJob,
    QueryOutcome,
    QueryTable,
)
from qwen_lightning.execution.pool import WorkerPool


class PooledExecutor(QueryExecutor):
    """Judges and answers in worker processes; subclasses say which, and what databases there are."""

    _pool: WorkerPool

    def judge(self, job: QueryJob) -> QueryOutcome:
        return self._pool.judge(job)

    def describe(self, database: str) -> str:
        schema: str = self._pool.ask(DatabaseJob("describe", database))
        return schema

    def explain(self, database: str, query: str) -> Explanation:
        try:
            explanation: Explanation = self._pool.ask(DatabaseJob("explain", database, query))
        except QueryError as error:  # it was not planned in time: nothing is known
            return Explanation(None, str(error))
        return explanation

    def run(self, database: str, query: str, limits: Limits = SHOWN) -> QueryTable:
        table: QueryTable = self._pool.ask(DatabaseJob("run", database, query, limits))
        return table

    def close(self) -> None:
        self._pool.close()
