"""Connections: a killed client frees its place, and an idle connection is the client's to end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from openai import DEFAULT_CONNECTION_LIMITS
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.live import SQL, Running, Serve, until, user

CLIENT = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
connection.request("POST", "/v1/chat/completions", sys.argv[2], {"Content-Type": "application/json"})
stream = connection.getresponse()
for _ in range(4):
    assert stream.readline()
print("reading", flush=True)
while stream.readline():
    pass
"""


def gauges(server: Running) -> dict[str, float]:
    """What `/metrics` says now."""
    families = text_string_to_metric_families(server.get("/metrics")[1])
    return {sample.name.removeprefix("qwen_lightning_"): sample.value for f in families for sample in f.samples}


def test_its_slot_is_free_within_a_second(serve: Serve) -> None:
    server = serve(running=1)
    step = server.engine._batch.step

    def slow(parts):  # type: ignore[no-untyped-def]
        time.sleep(0.02)  # 400 steps of the tiny model would be over in a moment
        return step(parts)

    server.engine._batch.step = slow  # type: ignore[method-assign]
    asked = {"model": "sql", "messages": user(SQL), "max_tokens": 400, "temperature": 1.5, "seed": 1, "stream": True}
    command = [sys.executable, "-c", CLIENT, str(server.port), json.dumps(asked)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "reading\n"
        before = gauges(server)
        client.kill()
        killed = time.monotonic()
        until(lambda: gauges(server)["running"] == 0)
        seconds = time.monotonic() - killed
    assert (before["running"], before["cache_taken_tokens"] > 400) == (1, True)
    assert seconds < 1
    after = gauges(server)
    assert (after["running"], after["waiting"], after["cache_taken_tokens"]) == (0, 0, 0)
    assert server.engine.stats().counts.finished == {"cancelled": 1}
    # The only place is there for the next.
    said = server.client().chat.completions.create(model="sql", messages=user(SQL), max_tokens=2)
    assert said.usage.completion_tokens > 0


def test_an_idle_connection_outlasts_the_official_clients_pool(serve: Serve) -> None:
    # Where both end it after the same time, a request is now and then sent on a connection that is being closed.
    config = serve().server.config
    assert config.timeout_keep_alive > 2 * DEFAULT_CONNECTION_LIMITS.keepalive_expiry


def test_a_client_that_reads_nothing_does_not_hold_an_end_by_force(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    server = serve(grace=100.0)
    asked = {"model": "sql", "messages": user(SQL), "max_tokens": 900, "n": 8, "temperature": 1.5, "stream": True}
    body = json.dumps({**asked, "logprobs": True, "top_logprobs": 20}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: any(not flow(connection) for connection in server.server.server_state.connections))
        server.server.handle_exit(signal.SIGINT, None)
        server.server.handle_exit(signal.SIGINT, None)
        server.thread.join(30)
        assert not server.thread.is_alive()
    assert "Traceback" not in capfd.readouterr().err


def flow(connection: Any) -> bool:
    """Whether a connection's client takes what is sent."""
    return not connection.flow.write_paused
