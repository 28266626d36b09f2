"""A watchdog that interrupts what runs past its limit."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

_TICK_S = 0.05


class Watch:
    """One thread for all limits: a timer's thread for each query would cost more than most queries do.

    Args:
        interrupt: Called, from the watchdog's thread, when a limit has passed; repeatedly until the block ends.
    """

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._deadline = float("inf")
        threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Interrupt the block if it runs longer than that."""
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = float("inf")

    def _watch(self) -> None:
        while True:
            time.sleep(_TICK_S)
            if time.monotonic() > self._deadline:
                self._interrupt()
