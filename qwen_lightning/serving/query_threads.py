"""Threads in which databases are asked, so that the event loop and the other requests need not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from qwen_lightning.serving.generation import QueueFullError

T = TypeVar("T")


class QueryThreads:
    """A few threads and a queue before them for queries; as many for verdicts, and one that looks for databases.

    Args:
        running: How many are asked at once.
        waiting: How many more may wait.
        seconds: Longest wait of a chat request.
    """

    def __init__(self, running: int = 4, waiting: int = 16, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self._most, self._under_way = running + waiting, 0
        self._pool = ThreadPoolExecutor(running, thread_name_prefix="databases")
        self._needed = ThreadPoolExecutor(running, thread_name_prefix="verdicts")
        # One: while a server is silent, who asks for it waits here and holds up no verdict.
        self._finding = ThreadPoolExecutor(1, thread_name_prefix="finding")

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
        """Do what the server itself wants to know; it waits with the queries, as long as it must."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def need(self, work: Callable[[], T]) -> T:
        """Do what a verdict needs, which waits behind no query.

        Raises:
            TimeoutError: It was not done in time; it may still be under way.
        """
        return await self._in_time(self._needed, work)

    async def find(self, work: Callable[[], T]) -> T:
        """Look for a database that a chat request names; raises as `need` does."""
        return await self._in_time(self._finding, work)

    def close(self) -> None:
        """Wait for what is under way, and take no more."""
        self._pool.shutdown(cancel_futures=True)
        self._needed.shutdown(cancel_futures=True)
        self._finding.shutdown(cancel_futures=True)

    async def _in_time(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(pool, work)
        async with asyncio.timeout(self.seconds):
            return await future

    def _left(self, future: asyncio.Future[T]) -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # seen, also where nobody waits for it any more
