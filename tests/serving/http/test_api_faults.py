"""What a server refuses, and that clients that come in numbers, go or break leave nothing behind."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import openai
import pytest

from qwen_lightning.adapters.store import load_adapter, save_adapter
from qwen_lightning.errors import ExecutionError
from qwen_lightning.serving.generation import (
    AdapterUnavailableError,
    EngineClosedError,
    QueueFullError,
    UpstreamUnavailableError,
)
from qwen_lightning.serving.http.api import EventStream, HTTPSettings
from qwen_lightning.serving.http.errors import fault_of
from qwen_lightning.serving.requests import parse_request
from qwen_lightning.serving.service import RequestLimits
from tests.serving.live import HEAD, KEY, SQL, Held, Serve, until, user


def test_faults_have_openais_shape(serve: Serve) -> None:
    server = serve(settings=HTTPSettings(body_bytes=5000), asked=RequestLimits(max_tokens=50, choices=4), length=300)
    client = server.client()
    with pytest.raises(openai.NotFoundError, match="unknown model 'gpt-4'") as unknown:
        client.chat.completions.create(model="gpt-4", messages=user("Hi."))
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    for more, param in [
        ({"messages": []}, "messages"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 51}, "max_tokens"),
        ({"max_completion_tokens": 51}, "max_completion_tokens"),
        ({"n": 5}, "n"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": 3}}}]}, "tools"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 3}}}},
            "response_format.json_schema.schema",
        ),
        ({"messages": user("word " * 900)}, "messages"),
        ({"messages": user("word " * 250), "max_tokens": 50}, "max_tokens"),
        ({"messages": user("word " * 250), "max_completion_tokens": 50}, "max_completion_tokens"),
    ]:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError) as bad:
                client.chat.completions.create(**{"model": "auto", "messages": user("Hi."), "stream": stream, **more})
            assert bad.value.param == param
            assert bad.value.type == "invalid_request_error"
    with pytest.raises(openai.APIStatusError, match="5000 bytes") as large:
        client.chat.completions.create(model="auto", messages=user("x" * 6000))
    assert large.value.status_code == 413
    said = server.engine.stats()
    assert (said.running, said.waiting, sum(said.counts.finished.values())) == (0, 0, 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "JSON object"),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"messages": ' + b"9" * 10_000 + b"}", "number too long"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "surrogate"),
        (b'{"messages": [{"role": "user", "content": "Hi"}], "temperature": NaN}', "temperature"),
    ],
)
def test_malformed_bodies(serve: Serve, body: bytes, message: str) -> None:
    status, said, _ = serve().post(body)
    assert status == 400
    assert message in said["error"]["message"]
    assert said["error"].keys() == {"message", "type", "param", "code"}


def test_more_choices_than_there_are_places(serve: Serve) -> None:
    with pytest.raises(openai.BadRequestError, match="3 is more than the 2 completions") as error:
        serve(running=1, waiting=1).client().chat.completions.create(model="sql", messages=user(SQL), n=3)
    assert error.value.param == "n"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/query"])
def test_a_body_that_is_not_said_to_be_json(serve: Serve, path: str) -> None:
    server, body = serve(), json.dumps({"messages": user("Hi."), "max_tokens": 2}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        status, said, _ = server.post(body, path, **{"Content-Type": kind})
        assert (status, said["error"]["code"]) == (415, "unsupported_media_type")
        assert "send Content-Type: application/json" in said["error"]["message"]
    assert server.post(body, **{"Content-Type": "Application/JSON; charset=utf-8"})[0] == 200


FOREIGN: list[tuple[dict[str, str], str]] = [
    ({"Host": "evil.example"}, "foreign_host"),
    ({"Host": "evil.example", "Origin": "http://evil.example"}, "foreign_host"),
    ({"Host": "localhost.evil.example:8000"}, "foreign_host"),
    ({"Host": "127.0.0.1@evil.example"}, "foreign_host"),
    ({"Host": "["}, "foreign_host"),
    ({"Host": "192.168.0.7:8000"}, "foreign_host"),
    ({"Host": "localhost:8000", "Origin": "http://evil.example"}, "foreign_origin"),
    ({"Host": "localhost:8000", "Origin": "http://localhost:3000"}, "foreign_origin"),
    ({"Host": "localhost:8000", "Origin": "null"}, "foreign_origin"),
    ({"Host": "localhost:8000", "Origin": "http://["}, "foreign_origin"),
]
OWN: list[dict[str, str]] = [
    {"Host": "localhost:9000", "Origin": "http://localhost:9000"},  # as through `ssh -L 9000:…`
    {"Host": "LOCALHOST"},
    {"Host": "[::1]:8000", "Origin": "http://[::1]:8000"},
    {"Host": "127.0.0.1"},
    {"Host": "127.8.0.1:1"},
    {"Host": "ip6-localhost:8000"},
    {"Host": "localhost", "Origin": "http://localhost:80"},
]


def test_pages_of_other_sites_cannot_use_a_server_without_keys(serve: Serve) -> None:
    server, body = serve(), json.dumps({"messages": user("Hi."), "max_tokens": 2}).encode()
    for headers, code in FOREIGN:
        for path in ("/v1/chat/completions", "/v1/query"):
            status, said, _ = server.post(body, path, **headers)
            assert (status, said["error"]["code"]) == (403, code), headers
            assert "--api-key-env" in said["error"]["message"]
        assert server.get("/v1/databases", **headers)[0] == 403
    for headers in OWN:
        assert server.post(body, **headers)[0] == 200, headers
        assert server.get("/v1/databases", **headers)[0] == 200


def test_a_server_with_keys_may_have_any_name(serve: Serve) -> None:
    server, body = serve(settings=HTTPSettings((KEY,))), json.dumps({"messages": user("Hi."), "max_tokens": 2}).encode()
    for headers, _ in FOREIGN:
        assert server.post(body, **headers)[0] == 401
        assert server.post(body, Authorization=f"Bearer {KEY}", **headers)[0] == 200


def test_paths_and_methods_that_there_are_not(serve: Serve) -> None:
    server = serve()
    status, said, _ = server.post(b"{}", "/v1/completions")
    assert (status, said["error"]["type"]) == (404, "not_found_error")
    status, text = server.get("/v1/chat/completions")
    assert status == 405
    assert json.loads(text)["error"]["message"]


def test_a_huge_body_without_a_length_is_not_read_to_its_end(serve: Serve) -> None:
    server = serve(settings=HTTPSettings(body_bytes=2000))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/v1/chat/completions", iter([b"x" * 1500] * 2), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json"})  # fmt: skip
    assert connection.getresponse().status == 413


def test_a_body_that_does_not_arrive(serve: Serve) -> None:
    server = serve(settings=HTTPSettings(body_seconds=0.1))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
        slow.sendall(HEAD + b"Content-Length: 10\r\n\r\n{")
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_keys(serve: Serve) -> None:
    server = serve(settings=HTTPSettings(api_keys=("other", KEY)))
    assert server.client(KEY).chat.completions.create(model="sql", messages=user(SQL), max_tokens=2).model == "sql"
    for key in ("wrong", KEY[:-1], "schlüssel"):
        status, said, headers = server.post(b"{}", Authorization=f"Bearer {key}".encode().decode("latin-1"))
        assert (status, said["error"]["code"]) == (401, "invalid_api_key")
        assert key not in said["error"]["message"]
        assert headers["www-authenticate"] == "Bearer"
    with pytest.raises(openai.AuthenticationError):
        server.client("wrong").models.list()
    assert server.post(b"{}")[0] == 401
    assert server.post(b"{}", Authorization=KEY)[0] == 401
    assert server.get("/v1/models")[0] == 401
    assert server.get("/health")[0] == 200


def test_a_model_that_is_no_name_is_malformed_and_not_unknown(serve: Serve) -> None:
    status, said, _ = serve().post(json.dumps({"model": 5, "messages": user("Hi.")}).encode())
    assert (status, said["error"]["param"]) == (400, "model")


def test_a_message_that_is_too_long_is_not_searched(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(self, request):  # type: ignore[no-untyped-def]
        raise AssertionError("planned")

    monkeypatch.setattr("qwen_lightning.serving.routing.planning.Planner.decide", plan)
    client = serve(length=100).client()
    with pytest.raises(openai.BadRequestError, match=r"messages of \d+ tokens") as error:
        client.chat.completions.create(model="auto", messages=user("word " * 900))
    assert error.value.code == "context_length_exceeded"


def test_long_requests_hold_up_none_but_their_like_and_are_not_read_once_their_client_went(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, going, threads = serve(), threading.Event(), []

    def slow(value):  # type: ignore[no-untyped-def]
        threads.append(threading.current_thread())
        if len(value["messages"][0]["content"]) > 100_000:
            assert going.wait(30)
        return parse_request(value)

    monkeypatch.setattr("qwen_lightning.serving.http.api.parse_request", slow)
    body = json.dumps({"messages": user("word " * 30_000), "max_tokens": 2}).encode()
    with ExitStack() as clients:
        for _ in range(3):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: server.service._preparing == 3)
        assert server.client().chat.completions.create(model="sql", messages=user(SQL), max_tokens=2).model == "sql"
        assert server.get("/health")[0] == 200
    until(lambda: server.service._preparing == 0)
    going.set()
    assert server.post(body)[1]["error"]["code"] == "context_length_exceeded"
    assert len(threads) == 3  # the first long one, the short one, and the last
    assert server.thread not in threads


def test_too_many_get_429_with_retry_after_and_retries_succeed(serve: Serve) -> None:
    server = serve(running=1, waiting=2)
    held = Held(server.engine)
    client, asked = server.client(), {"model": "sql", "messages": user(SQL), "max_tokens": 3}
    streams = [client.chat.completions.create(**asked, stream=True) for _ in range(2)]
    until(lambda: server.engine._open == 2)
    with pytest.raises(openai.RateLimitError):  # all choices or none
        client.chat.completions.create(**asked, n=2, temperature=1.0)
    assert server.engine._open == 2
    streams.append(client.chat.completions.create(**asked, stream=True))
    with pytest.raises(openai.RateLimitError) as full:
        client.chat.completions.create(**asked)
    assert full.value.response.headers["retry-after"] == "1"
    assert full.value.code == "rate_limit_exceeded"
    held.open.set()
    assert server.client(max_retries=5).chat.completions.create(**asked).model == "sql"
    for stream in streams:
        assert list(stream)[-1].choices[0].finish_reason
    until(lambda: server.engine._open == 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_slot(serve: Serve, stream: bool) -> None:
    server = serve()
    body = json.dumps(
        {"model": "sql", "messages": user(SQL), "max_tokens": 400, "n": 2, "temperature": 1.5, "stream": stream}
    ).encode()
    step = server.engine._batch.step

    def slow(parts):  # type: ignore[no-untyped-def]
        time.sleep(0.02)  # 400 steps of the tiny model would be over in a moment
        return step(parts)

    server.engine._batch.step = slow  # type: ignore[method-assign]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        if stream:
            assert client.recv(2000).startswith(b"HTTP/1.1 200")
        until(lambda: server.engine.stats().running == 2)
    until(lambda: server.engine.stats().running == 0)
    until(lambda: server.engine._open == 0)
    assert server.engine.stats().counts.finished == {"cancelled": 2}
    assert server.engine.stats().cache_taken == 0
    until(lambda: 'status="499"' in server.get("/metrics")[1])


def test_the_client_closes_a_stream(serve: Serve) -> None:
    server = serve()
    stream = server.client().chat.completions.create(
        model="sql", messages=user(SQL), max_tokens=400, temperature=1.5, stream=True
    )
    next(iter(stream))
    stream.close()
    until(lambda: server.engine._open == 0)
    assert server.engine.stats().counts.finished == {"cancelled": 1}


def test_a_client_that_goes_before_the_streams_first_chunk(serve: Serve) -> None:
    server = serve()
    held = Held(server.engine)

    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        await asyncio.Event().wait()

    async def answer() -> None:
        request = parse_request({"messages": user(SQL), "max_tokens": 400, "temperature": 1.5, "seed": 1})
        job = await server.service.begin(request)

        async def chunks() -> AsyncIterator[str]:
            yield ""

        await EventStream(job, chunks(), {})({"type": "http", "asgi": {"spec_version": "2.3"}}, gone, send)

    asyncio.run(answer())
    held.open.set()
    until(lambda: server.engine._open == 0)
    assert server.engine.stats().counts.finished == {"cancelled": 1}


def test_requests_after_the_end_get_503(serve: Serve) -> None:
    server = serve()
    server.engine.close()
    with pytest.raises(openai.InternalServerError, match="shutting down") as closed:
        server.client().chat.completions.create(model="sql", messages=user(SQL))
    assert closed.value.status_code == 503
    assert closed.value.response.headers["retry-after"] == "1"
    assert server.get("/health")[0] == 503


def test_a_fault_of_the_engine_is_told_in_the_stream_and_out_of_it(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()

    def broken(parts):  # type: ignore[no-untyped-def]
        raise RuntimeError("device lost")

    server.engine._batch.step = broken  # type: ignore[method-assign]
    asked = {"model": "sql", "messages": user(SQL), "max_tokens": 3}
    with pytest.raises(openai.InternalServerError, match="send it again"):
        server.client().chat.completions.create(**asked)
    with pytest.raises(openai.APIError, match="send it again"):
        list(server.client().chat.completions.create(**asked, stream=True))
    assert 'status="500"' in server.get("/metrics")[1]


def test_a_model_that_is_lost_is_told_and_the_server_ends(serve: Serve) -> None:
    server = serve()
    tick, ending = server.server.on_tick, threading.Event()

    async def wait(counter: int) -> bool:
        return ending.is_set() and await tick(counter)

    server.server.on_tick = wait  # type: ignore[method-assign]

    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("device lost")

    server.engine._batch.step = server.engine._batch.runner.kv.give = lost  # type: ignore[method-assign]
    asked = {"model": "sql", "messages": user(SQL), "max_tokens": 3}
    with pytest.raises(openai.InternalServerError, match="device lost"):
        server.client().chat.completions.create(**asked)
    with pytest.raises(openai.InternalServerError, match="start the server anew") as after:
        server.client().chat.completions.create(**asked)
    assert (after.value.status_code, after.value.code) == (503, "model_failed")
    code, text = server.get("/health")
    assert (code, json.loads(text)["status"]) == (503, "the model has failed; start the server anew")
    ending.set()
    server.thread.join(30)
    assert not server.thread.is_alive()


@pytest.mark.parametrize("stream", [False, True])
def test_an_adapter_whose_weights_were_replaced(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    server = serve()
    known = server.engine.library["fc"]
    state, lora, manifest = load_adapter(known.path)
    save_adapter(tmp_path / "fc", {name: 2 * tensor for name, tensor in state.items()}, lora, manifest)
    server.engine.library._folders["fc"] = replace(known, path=tmp_path / "fc")
    asked = {"messages": user("Hi."), "max_tokens": 2, "stream": stream}
    with pytest.raises(openai.APIError, match="'fc' cannot be loaded; the server's log says why") as error:
        list(server.client().chat.completions.create(model="fc", **asked))
    assert error.value.code == "adapter_unavailable"
    if not stream:
        assert error.value.status_code == 503
        assert error.value.response.headers["retry-after"] == "1"
    assert f"{tmp_path / 'fc'} holds other weights than at the start" in caplog.text
    assert list(server.client().chat.completions.create(model="sql", **asked))


def test_whatever_comes_back_later_says_when() -> None:
    for error in (
        QueueFullError("full"),
        EngineClosedError("closed"),
        AdapterUnavailableError("replaced"),
        UpstreamUnavailableError("away"),
        ExecutionError("the database is not there\nand more"),
    ):
        response = fault_of(error).response()
        assert response.status_code in (429, 503)
        assert response.headers["retry-after"] == "1"
        assert b"and more" not in response.body


def test_an_answer_that_its_stop_string_ends_counts_as_stopped(serve: Serve) -> None:
    server = serve(says=["one two three four", "one"])
    asked = {"model": "sql", "messages": user("Count."), "max_tokens": 40, "stop": "three"}
    assert server.client().chat.completions.create(**asked).choices[0].finish_reason == "stop"
    until(lambda: server.engine._open == 0)
    assert server.engine.stats().counts.finished == {"stop": 1}


def test_the_grace_is_for_those_under_way(serve: Serve) -> None:
    server = serve(grace=20.0)
    held = Held(server.engine)
    stream = server.client().chat.completions.create(model="sql", messages=user(SQL), max_tokens=5, stream=True)
    until(lambda: server.engine.stats().running == 1)
    server.server.should_exit = True
    until(lambda: not server.engine.healthy)
    held.open.set()
    assert list(stream)[-1].choices[0].finish_reason in ("length", "stop")
    server.thread.join(30)
    assert not server.thread.is_alive()


@pytest.mark.parametrize("stream", [False, True])
def test_what_outlasts_the_grace_is_told_so(serve: Serve, stream: bool) -> None:
    server = serve()
    held, said = Held(server.engine), []

    def wait_for_answer() -> None:
        asked = {"model": "sql", "messages": user(SQL), "max_tokens": 400, "temperature": 1.5, "seed": 1}
        try:
            answer = server.client().chat.completions.create(**asked, stream=stream)
            said.append(list(answer) if stream else answer)
        except openai.APIError as error:
            said.append(error)

    client = threading.Thread(target=wait_for_answer)
    client.start()
    until(lambda: server.engine.stats().running == 1)
    server.server.should_exit = True
    until(lambda: not server.engine.healthy)
    held.open.set()
    client.join(30)
    assert "shut down before the completion was done" in str(said[0])
    assert isinstance(said[0], openai.APIError if stream else openai.InternalServerError)


def test_a_fault_that_nobody_expected_logs_nothing_of_the_request(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()

    def broken(self, request):  # type: ignore[no-untyped-def]
        raise KeyError(request.messages[0].content)

    with caplog.at_level(logging.DEBUG):
        monkeypatch.setattr("qwen_lightning.serving.routing.planning.Planner.decide", broken)
        with pytest.raises(openai.InternalServerError, match="KeyError"):
            server.client().chat.completions.create(model="auto", messages=user("My secret."))
    ours = [record for record in caplog.records if record.name.startswith(("qwen", "uvicorn"))]
    assert any("KeyError" in record.getMessage() for record in ours)
    assert not any("secret" in record.getMessage() or record.exc_info for record in ours)
