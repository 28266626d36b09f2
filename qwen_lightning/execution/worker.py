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
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from qwen_lightning.errors import ExecutionError, QwenLightningError
from qwen_lightning.execution.base import QueryJob
from qwen_lightning.execution.engine import Engine
from qwen_lightning.execution.judge import Judge


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker runs on.

    Args:
        engine: `duckdb` or `postgres`.
        databases: Databases folder.
        variants: Variants of the data to match on, the original included.
        timeout_s: Limit of one query, seconds.
        memory_bytes: Limit of the worker's address space; 0 for none.
        url: Address of the Postgres server.
        scratch_url: Address of a Postgres database in which variants may be built.
    """

    engine: str
    databases: str = ""
    variants: int = 3
    timeout_s: float = 2.0
    memory_bytes: int = 0
    url: str = ""
    scratch_url: str = ""


def build_engine(spec: WorkerSpec) -> Engine:
    """The engine that a spec names."""
    if spec.engine == "postgres":
        from qwen_lightning.execution.postgres_engine import PostgresEngine

        folder = Path(spec.databases) if spec.databases else None
        return PostgresEngine(spec.url, folder, spec.scratch_url, spec.variants, spec.timeout_s)
    from qwen_lightning.execution.duckdb_engine import DuckDBEngine

    return DuckDBEngine(Path(spec.databases), spec.variants)


def main(descriptor: int) -> None:
    """Serve jobs on a socket until it closes.

    For each job the parent hears `("static", outcome)`, `("ready", None)` once database and gold are there, and
    `("done", outcome)`; or `("error", exception type, message)`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    connection = Connection(descriptor)
    spec: WorkerSpec = connection.recv()
    try:
        judge = Judge(build_engine(spec), spec.timeout_s)
    except QwenLightningError as error:
        connection.send(("error", type(error), str(error)))
        return
    if spec.memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (spec.memory_bytes, spec.memory_bytes))
    connection.send(("started", None))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            _serve(connection, judge, connection.recv())
    os._exit(0)  # at once: nothing here is worth an orderly end, and DuckDB's bindings complain about one
    os._exit(0)  # at an orderly exit duckdb's bindings print pages about objects that are still alive


def _serve(connection: Connection, judge: Judge, job: QueryJob) -> None:
    try:
        analysis, outcome = judge.static(job)
        connection.send(("static", outcome))
        if job.database is None or not outcome.parses or analysis.faults:
            connection.send(("done", outcome))
            return
        gold = judge.prepare(job)
        connection.send(("ready", None))
        connection.send(("done", judge.decide(job, analysis, outcome, gold)))
    except QwenLightningError as error:
        connection.send(("error", type(error), str(error)))
    except (MemoryError, RecursionError):
        os._exit(1)  # the query's doing; a fresh worker tries it once more
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception:
        trace = traceback.format_exc()
        connection.send(
            ("error", ExecutionError, f"a fault in the query worker, with query {job.query[:200]!r}:\n{trace}")
        )


def _die_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
