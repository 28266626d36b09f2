"""The process in which queries are analysed, run and compared.

It is started as a process of its own, not by multiprocessing, so that it imports this module alone and never the
trainer's main module.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from qwen_lightning.errors import QwenLightningError, WorkerFaultError
from qwen_lightning.execution.base import DatabaseJob, Explanation, Limits, QueryJob, QueryOutcome, QueryTable


class WorkerSpent(Exception):
    """What a worker holds is lost: the job is another worker's, and a fresh one takes this one's place."""


class Judge(ABC):
    """Judges queries in a worker process, in three steps; the parent sets each a limit of its own.

    What is asked of a database without judging goes the same way: `load` has a limit of its own, the rest a query's.
    """

    @abstractmethod
    def static(self, job: QueryJob) -> tuple[Any, QueryOutcome, bool]:
        """The analysis, the outcome as far as it decides, and whether running the query could change that."""

    @abstractmethod
    def prepare(self, job: QueryJob) -> Any:
        """Load the database and run the gold, both once; None where there is no gold.

        Raises:
            DataError: The database cannot be loaded.
        """

    @abstractmethod
    def decide(self, job: QueryJob, analysis: Any, static: QueryOutcome, gold: Any) -> QueryOutcome:
        """Run the query and compare it with the gold."""

    @abstractmethod
    def load(self, database: str) -> None:
        """Make a database ready for queries.

        Raises:
            DataError: The database cannot be loaded.
        """

    @abstractmethod
    def describe(self, database: str) -> str:
        """The schema text of a database; empty where it holds nothing.

        Raises:
            DataError: The database cannot be read.
        """

    @abstractmethod
    def explain(self, database: str, query: str) -> Explanation:
        """Whether the database takes a query."""

    @abstractmethod
    def table(self, database: str, query: str, limits: Limits) -> QueryTable:
        """A query's result.

        Raises:
            QueryError: The database does not take the query.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec(ABC):
    """What a worker runs on; sent to it as it starts.

    Args:
        timeout_s: Limit of one query, seconds.
        memory_bytes: Limit of the worker's address space; 0 for none, as a Java machine needs.
    """

    timeout_s: float = 2.0
    memory_bytes: int = 0

    @abstractmethod
    def build(self) -> Judge:
        """The judge, with its engine started.

        Raises:
            ExecutionError: The engine cannot start; the message says what to do.
        """


def main(descriptor: int) -> None:
    """Serve jobs on a socket until it closes.

    For each job the parent hears `("static", outcome)`, `("ready", None)` once database and gold are there, and
    `("done", outcome)`; or `("error", exception type, message)`. Of a job that is not judged there is no outcome.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    connection = Connection(descriptor)
    spec: WorkerSpec = connection.recv()
    # A parent that is gone ends the worker without a word.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            judge = spec.build()
        except QwenLightningError as error:
            connection.send(("error", type(error), str(error)))
            return
        if spec.memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (spec.memory_bytes, spec.memory_bytes))
        connection.send(("started", None))
        while True:
            _serve(connection, judge, connection.recv())
    os._exit(0)  # at once: nothing here is worth an orderly end, and DuckDB's bindings complain about one


def _serve(connection: Connection, judge: Judge, job: QueryJob | DatabaseJob) -> None:
    try:
        if isinstance(job, DatabaseJob):
            connection.send(("done", _answer(connection, judge, job)))
            return
        analysis, outcome, runs = judge.static(job)
        connection.send(("static", outcome))
        if not runs:
            connection.send(("done", outcome))
            return
        gold = judge.prepare(job)
        connection.send(("ready", None))
        connection.send(("done", judge.decide(job, analysis, outcome, gold)))
    except QwenLightningError as error:
        connection.send(("error", type(error), str(error)))
    except WorkerSpent:
        connection.send(("spent", None))
    except (MemoryError, RecursionError):
        os._exit(1)  # mostly the query's doing; a fresh worker tries it once more
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        places = [f"{frame.filename}:{frame.lineno}" for frame in reversed(traceback.extract_tb(error.__traceback__))]
        first = f"a fault in the query worker: {type(error).__name__} at {' < '.join(places)}"
        text = f"{first}\nwith query {job.query[:200]!r}:\n{traceback.format_exc()}"
        connection.send(("error", WorkerFaultError, text))


def _answer(connection: Connection, judge: Judge, job: DatabaseJob) -> str | Explanation | QueryTable:
    if job.action == "describe":
        return judge.describe(job.database)
    judge.load(job.database)
    connection.send(("ready", None))
    if job.action == "explain":
        return judge.explain(job.database, job.query)
    return judge.table(job.database, job.query, job.limits)


def _die_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
