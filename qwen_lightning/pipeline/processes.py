"""Stages as processes: one at a time, ended by the signals that end the pipeline, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from qwen_lightning.errors import ConfigError, SignalStop

_PR_SET_PDEATHSIG = 1  # prctl(2)
_POLL_S = 0.2
#: The stage may have got the pipeline's signal itself, from a terminal or a scheduler, and takes a second one of a kind
#: as an order to die at once: so it is passed on as the other kind.
_PASSED_ON = {signal.SIGTERM: signal.SIGINT, signal.SIGINT: signal.SIGTERM}


class Processes:
    """Runs commands one after the other; as a context manager it holds the folder's locks and the signals.

    Args:
        folder: The pipeline's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.received: signal.Signals | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()
        self._lock: IO[str] | None = None

    def __enter__(self) -> Processes:
        """Take locks and signals.

        Raises:
            ConfigError: Another pipeline works in the folder.
            SignalStop: A signal came while a stage of an earlier pipeline was ending.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._signals())
            stack.enter_context(self._pipeline_lock())
            self._lock = stack.enter_context(self._stage_lock())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def run(self, command: Sequence[str], errors: IO[bytes] | None = None) -> int:
        """Run a command to its end and return its exit code, negative for the signal that killed it.

        Args:
            command: The command.
            errors: Where its standard error goes, if not where ours does.

        Raises:
            SignalStop: A signal came before it began.
        """
        self.stop_if_signalled()
        assert self._lock is not None
        sys.stdout.flush()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=errors,
            # It holds the stage lock as long as it lives, whatever becomes of the pipeline.
            pass_fds=(self._lock.fileno(),),
            preexec_fn=_end_with_parent,
        )
        if self.received:  # in the moment before there was a process to pass it on to
            self._pass_on(self.received)
        try:
            return self._process.wait()
        finally:
            self._process = None

    def stop_if_signalled(self) -> None:
        """End the pipeline if a signal came.

        Raises:
            SignalStop: One did.
        """
        if self.received:
            raise SignalStop(f"{self.received.name}: the pipeline stopped; the same command goes on from here")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._note) for number in _PASSED_ON}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._pass_on(self.received)

    def _pass_on(self, received: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(_PASSED_ON[received])

    @contextlib.contextmanager
    def _pipeline_lock(self) -> Iterator[None]:
        with open(self.folder / "pipeline.lock", "a+", encoding="utf-8") as lock:
            if not _try_lock(lock):
                lock.seek(0)
                raise ConfigError(f"{self.folder}: another pipeline works there (process {lock.read().strip()})")
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    @contextlib.contextmanager
    def _stage_lock(self) -> Iterator[IO[str]]:
        with open(self.folder / "stage.lock", "a", encoding="utf-8") as lock:
            told = False
            while not _try_lock(lock):
                if not told:
                    print("A stage of an earlier pipeline is still ending; waiting for it", flush=True)
                told = True
                time.sleep(_POLL_S)
                self.stop_if_signalled()
            yield lock


def _try_lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_with_parent() -> None:
    """Have Linux send SIGTERM to this process when the pipeline dies, even of SIGKILL: it then checkpoints and ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
