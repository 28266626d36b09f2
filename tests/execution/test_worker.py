"""Workers: who gets one, and what they do when their parent is gone."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_lightning.execution.base import DatabaseJob, Explanation, Limits, QueryJob, QueryOutcome, QueryTable
from qwen_lightning.execution.pool import WorkerPool
from qwen_lightning.execution.worker import Judge, WorkerSpec

_PARENT = """
import os, sys
from qwen_lightning.execution.base import QueryJob
from qwen_lightning.execution.sql.executors import DuckDBExecutor
schema = "CREATE TABLE t (a INTEGER);"
job = QueryJob("SELECT a FROM t", schema, "postgres", gold="SELECT a FROM t", database="d")
print(DuckDBExecutor(sys.argv[1], workers=1).judge(job).executes, flush=True)
os._exit(1)
"""


def test_they_end_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "d.sql").write_text("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1);")
    # The pipes close when the last worker, too, has ended.
    found = subprocess.run([sys.executable, "-c", _PARENT, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout, found.stderr) == (1, "True\n", "")


class Waiting(Judge):
    """Says in a folder that a query is under way, and runs it until a file `go` is there."""

    def load(self, database: str) -> None:
        pass

    def table(self, database: str, query: str, limits: Limits) -> QueryTable:
        folder = Path(database)
        (folder / f"began {query}").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        return QueryTable((), [], False, 0.0)

    def explain(self, database: str, query: str) -> Explanation:
        return Explanation(True)

    def describe(self, database: str) -> str:
        raise NotImplementedError

    def static(self, job: QueryJob) -> tuple[Any, QueryOutcome, bool]:
        raise NotImplementedError

    def prepare(self, job: QueryJob) -> Any:
        raise NotImplementedError

    def decide(self, job: QueryJob, analysis: Any, static: QueryOutcome, gold: Any) -> QueryOutcome:
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSpec(WorkerSpec):
    """Workers that wait."""

    def build(self) -> Judge:
        return Waiting()


def test_queries_to_be_shown_leave_a_worker_to_verdicts(tmp_path: Path) -> None:
    pool = WorkerPool(WaitingSpec(timeout_s=120.0), workers=2)
    with ThreadPoolExecutor(4) as threads:
        try:
            runs = [threads.submit(pool.ask, DatabaseJob("run", str(tmp_path), str(name))) for name in range(3)]
            end = time.monotonic() + 60
            while not list(tmp_path.glob("began *")):
                assert time.monotonic() < end
                time.sleep(0.01)
            explained = threads.submit(pool.ask, DatabaseJob("explain", str(tmp_path)))
            assert explained.result(timeout=30) == Explanation(True)
            assert not any(run.done() for run in runs)
        finally:
            (tmp_path / "go").touch()
        assert all(run.result().rows == [] for run in runs)
    pool.close()
