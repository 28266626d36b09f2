"""A pool of worker processes that judge queries, with a deadline that the parent keeps."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from qwen_lightning.errors import ExecutionError, QueryError
from qwen_lightning.execution.base import DatabaseJob, QueryJob, QueryOutcome
from qwen_lightning.execution.worker import WorkerSpec, WorkerSpent

START_S = 120.0
# Loading a database and running a gold, which is trusted, may take longer than a query.
PREPARE_S = 120.0
# What a worker may need beyond the limit of one query: the analysis, and the comparison of results.
GRACE_S = 0.3
DIED = "its worker died twice (memory or a crash of the engine)"


class WorkerDied(Exception):
    """A worker's process ended while it worked.

    Args:
        static: What it had found out by then.
    """

    def __init__(self, static: QueryOutcome | None) -> None:
        super().__init__()
        self.static = static


class WorkerOverran(Exception):
    """A worker's process was ended at its deadline.

    Args:
        static: What it had found out by then.
        ready: Whether it had loaded the database.
    """

    def __init__(self, static: QueryOutcome | None, ready: bool) -> None:
        super().__init__()
        self.static, self.ready = static, ready


class _Worker:
    """One process and its connection. Used by one thread at a time."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec, self.jobs = spec, 0
        self.started = False
        self.process: subprocess.Popen[bytes] | None = None
        self.connection: Connection | None = None

    def start(self) -> None:
        """Start the process; its readiness is awaited at the first job."""
        ours, theirs = socket.socketpair()
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path or os.getcwd() for path in sys.path))
        # glibc reserves 64 MiB for each arena and allows eight a core: on many cores they alone outgrow RLIMIT_AS.
        environment["MALLOC_ARENA_MAX"] = "1"
        command = [
            sys.executable,
            "-c",
            "import sys; from qwen_lightning.execution.worker import main; main(int(sys.argv[1]))",
            str(theirs.fileno()),
        ]
        with theirs:
            try:
                self.process = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL
                )
            except OSError as error:
                ours.close()
                raise ExecutionError(f"a query worker cannot be started: {error}") from None
        self.connection = Connection(ours.detach())
        self.connection.send(self.spec)
        self.jobs = 0
        self.started = False

    def work(self, job: QueryJob | DatabaseJob) -> Any:
        """What comes of a job.

        Raises:
            WorkerDied: The process ended.
            WorkerOverran: It was ended at the deadline.
            QwenLightningError: What the worker says.
        """
        if self.process is None:
            self.start()
        if not self.started:
            self._await_start()
        assert self.connection is not None
        self.jobs += 1
        static: QueryOutcome | None = None
        ready = False
        limit = self.spec.timeout_s + GRACE_S if isinstance(job, QueryJob) else PREPARE_S
        try:
            self.connection.send(job)
            while True:
                if not self.connection.poll(limit):
                    self.kill()
                    raise WorkerOverran(static, ready)
                kind, *rest = self.connection.recv()
                if kind == "done":
                    return rest[0]
                if kind == "error":
                    raise rest[0](rest[1])
                if kind == "spent":
                    self.kill()
                    raise WorkerSpent
                if kind == "static":
                    static, limit = rest[0], PREPARE_S
                elif kind == "ready":
                    ready, limit = True, self.spec.timeout_s + GRACE_S
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.kill()
            raise WorkerDied(static) from None

    def _await_start(self) -> None:
        assert self.connection is not None
        try:
            if not self.connection.poll(START_S):
                self.kill()
                raise ExecutionError(f"a query worker did not start within {START_S:.0f} s")
            kind, *rest = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.kill()
            raise ExecutionError("a query worker ended while it started; its message stands above") from None
        if kind == "error":
            self.kill()
            raise rest[0](rest[1])
        self.started = True

    def kill(self) -> None:
        """End the process at once and reap it."""
        if self.connection is not None:
            self.connection.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = self.connection = None
        self.started = False


class WorkerPool:
    """Judges jobs on a fixed number of workers; starts them at the first job.

    One worker more than asked for is kept, so that a job need not wait while a worker that was ended starts anew.

    Args:
        spec: What each worker runs on; its `timeout_s` is the deadline that the parent keeps.
        workers: How many work at a time.
        recycle_after: Jobs after which a worker is replaced by a fresh one.
    """

    def __init__(self, spec: WorkerSpec, workers: int, recycle_after: int = 5000) -> None:
        self.spec, self.count, self.recycle_after = spec, workers, recycle_after
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(workers)
        # Queries that someone wants to see leave a worker to verdicts where there are two.
        self._shown = threading.BoundedSemaphore(max(1, workers - 1))
        self._idle: deque[_Worker] = deque()
        self._all: list[_Worker] = []
        self._owner = os.getpid()
        self.was_started = False

    def judge(self, job: QueryJob) -> QueryOutcome:
        """Judge one job; thread-safe.

        Raises:
            ExecutionError: No worker can be started.
            DataError: The job's database or schema cannot be read.
        """
        try:
            outcome: QueryOutcome = self._work(job)
        except WorkerOverran as error:
            return overrun(job, error.static, self.spec.timeout_s)
        except WorkerDied as error:
            return died(job, error.static)
        return outcome

    def ask(self, job: DatabaseJob) -> Any:
        """What a database answers to a job that is not judged; thread-safe.

        Raises:
            QueryError: The database does not take the query, or it does not end in time.
            DataError: The database cannot be read.
            ExecutionError: No worker can be started.
        """
        try:
            return self._work(job)
        except WorkerOverran as error:
            if error.ready:
                raise QueryError(f"ran past its limit of {self.spec.timeout_s:g} s") from None
            raise ExecutionError(f"the database {job.database!r} was not read within {PREPARE_S:g} s") from None
        except WorkerDied:
            raise QueryError(DIED) from None

    def _work(self, job: QueryJob | DatabaseJob) -> Any:
        """Give a job to a worker, and to a second one where the first dies of it; one that is spent is no death."""
        static: QueryOutcome | None = None
        deaths = spent = 0
        shown = isinstance(job, DatabaseJob) and job.action != "explain"
        with self._shown if shown else nullcontext(), self._turns:
            # After a restart of what they work on, all workers may be spent.
            while deaths < 2 and spent < self.count + 2:
                worker = self._take()
                try:
                    return worker.work(job)
                except WorkerDied as error:
                    static, deaths = error.static or static, deaths + 1
                except WorkerSpent:
                    spent += 1
                finally:
                    self._give(worker)
        if deaths < 2:
            raise ExecutionError("connections to the database are lost as soon as they are made; look at its server")
        raise WorkerDied(static)

    def close(self) -> None:
        """End all workers. A later job starts them again."""
        with self._lock:
            workers, self._all = self._all, []
            self._idle.clear()
        if self._owner == os.getpid():
            for worker in workers:
                worker.kill()

    def _take(self) -> _Worker:
        with self._lock:
            if self._owner != os.getpid():  # after a fork the workers are the parent's
                self._owner, self._all = os.getpid(), []
                self._idle.clear()
            if not self._all:
                self._all = [_Worker(self.spec) for _ in range(self.count + 1)]
                for worker in self._all:
                    worker.start()
                self._idle.extend(self._all)
                self.was_started = True
                _close_at_exit(self)
            return self._idle.pop()

    def _give(self, worker: _Worker) -> None:
        with self._lock:
            if worker not in self._all:  # the pool was closed meanwhile
                worker.kill()
                return
            if worker.jobs >= self.recycle_after:
                worker.kill()
            if worker.process is None:
                worker.start()
            # Warm workers are taken first; one that starts waits at the other end.
            if worker.started:
                self._idle.append(worker)
            else:
                self._idle.appendleft(worker)


def _close_at_exit(pool: WorkerPool) -> None:
    reference = weakref.ref(pool)

    def close() -> None:
        alive = reference()
        if alive is not None:
            alive.close()

    atexit.register(close)


def overrun(job: QueryJob, static: QueryOutcome | None, limit: float) -> QueryOutcome:
    """The outcome of a query whose worker had to be ended at the deadline."""
    if static is None:
        return died(job, None, f"could not be analysed within {limit:g} s")
    return replace(static, executes=False, match=_no_match(job), detail=f"ran past its limit of {limit:g} s")


def died(
    job: QueryJob,
    static: QueryOutcome | None,
    detail: str = DIED,
) -> QueryOutcome:
    """The outcome of a query that no worker survives: what the analysis found stays, else nothing holds."""
    executes: Any = False if job.database is not None else None
    if static is not None:
        return replace(static, executes=executes, match=_no_match(job), detail=detail)
    return QueryOutcome(False, references=False, dialect=False, executes=executes, match=_no_match(job), detail=detail)


def _no_match(job: QueryJob) -> bool | None:
    return False if job.gold is not None and job.database is not None else None
