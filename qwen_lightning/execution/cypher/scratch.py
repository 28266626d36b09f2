"""A folder of a worker's own, removed by a later worker where this one was ended."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

_LOCK = "lock"


class ScratchFolder:
    """A folder that is locked as long as its process lives, so that others can tell it from one left behind."""

    def __init__(self) -> None:
        home = _home()
        sweep()
        self.path = Path(tempfile.mkdtemp(dir=home))
        self._lock: IO[str] = (self.path / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)


def sweep() -> None:
    """Remove the folders of processes that have ended."""
    for folder in _home().iterdir():
        # A folder without a lock is just being made.
        with suppress(OSError), (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _home() -> Path:
    home = Path(tempfile.gettempdir()) / f"qwen_lightning_graphs_{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    return home
