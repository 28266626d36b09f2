"""Threads in which databases are asked, so that the event loop and the other requests need not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from qwen_lightning.serving.generation import QueueFullError

T = TypeVar("T")


class QueryThreads:
    """A few threads and a queue before them.

    Args:
        running: How many are asked at once.
        waiting: How many more may wait.
    """

    def __init__(self, running: int = 4, waiting: int = 16) -> None:
        self._most, self._under_way = running + waiting, 0
        self._pool = ThreadPoolExecutor(running, thread_name_prefix="databases")

    async def admit(self, work: Callable[[], T]) -> T:
        """Do what someone asks for.

        Raises:
            QueueFullError: Too many wait.
        """
        if self._under_way >= self._most:
            raise QueueFullError(f"{self._under_way} queries are under way; try again later")
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        # Who goes early frees no place: the thread works on, and is to be counted until it is done.
        future.add_done_callback(self._left)
        return await asyncio.shield(future)

    async def do(self, work: Callable[[], T]) -> T:
        """Do what a request that was let in already needs; it waits as long as it must."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Wait for what is under way, and take no more."""
        self._pool.shutdown(cancel_futures=True)

    def _left(self, future: asyncio.Future[T]) -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # seen, also where nobody waits for it any more
