"""Uvicorn, with an end that lets answers under way be finished."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from qwen_lightning.errors import ConfigError
from qwen_lightning.serving.backend import Backend

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds that an idle connection is kept. It is for the client to end it: one that the server ends just as the next
# request is sent on it loses that request. OpenAI's client keeps its connections for 5 s, proxies for 60 s.
KEEP_ALIVE = 75
_LOOK = 0.1  # seconds between two looks for a second Ctrl-C
_ERRORS = 1.0  # seconds in which errors are sent after it


class Server(uvicorn.Server):
    """Serves an application. On SIGTERM or Ctrl-C it takes no more requests, finishes those that there are, and ends.

    It also ends where the engine is lost.

    Args:
        app: The application.
        engine: It is closed in the end.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        grace: Seconds for requests under way to be finished; then they get an error.
        announce: Called once the port is listened on.
    """

    def __init__(
        self,
        app: FastAPI,
        engine: Backend,
        host: str = "127.0.0.1",
        port: int = 8000,
        grace: float = 30.0,
        announce: Callable[[], None] | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",  # the application has none, and an end by force would log one that is broken off
            timeout_keep_alive=KEEP_ALIVE,
            # The engine ends what is late; uvicorn waits a little longer, so that the error can be sent.
            timeout_graceful_shutdown=int(grace) + 5,
        )
        super().__init__(config)
        self._engine, self._grace, self._announce = engine, grace, announce

    @classmethod
    def listen(cls, host: str, port: int) -> socket.socket:
        """A socket bound to an address, so that a port that is taken is known before a model is loaded.

        Raises:
            ConfigError: It cannot be had.
        """
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            bound = socket.socket(family, socket.SOCK_STREAM)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--host {host} --port {port}: cannot be listened on: {error}") from None
        return bound

    def run_until_signal(self, bound: socket.socket) -> None:
        """Serve on a socket; returns after a clean end, whichever signal asked for it.

        Raises:
            EngineFailedError: The engine was lost.
        """
        # Uvicorn raises the signal anew when it is done, which would end the process by it.
        before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        try:
            self.run(sockets=[bound])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._engine.failure is not None:
            raise self._engine.failure

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started and self._announce is not None:
            self._announce()

    async def on_tick(self, counter: int) -> bool:
        """Whether to end: also where the engine is lost, so that whoever watches the process starts it anew."""
        return await super().on_tick(counter) or self._engine.failure is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: no more requests, those under way finished or, when the grace is over, failed.

        A second Ctrl-C ends the grace.
        """
        closing = asyncio.create_task(asyncio.to_thread(self._engine.close, self._grace))
        ending = asyncio.create_task(super().shutdown(sockets))
        left = {closing, ending}
        while left and not self.force_exit:
            left = (await asyncio.wait(left, timeout=_LOOK))[1]
        if self.force_exit:
            await asyncio.to_thread(self._engine.close)
            # Requests under way get their errors now; a client that does not read its own is not waited for.
            await asyncio.wait({ending}, timeout=_ERRORS)
            for connection in list(self.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            if tasks := set(self.server_state.tasks):  # they see that their clients are gone
                await asyncio.wait(tasks, timeout=_ERRORS)
        await closing
        await ending
