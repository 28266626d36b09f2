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

import openai
import pytest

from qwen_lightning.serving.http.api import EventStream, HTTPSettings
from qwen_lightning.serving.requests import parse_request
from qwen_lightning.serving.service import RequestLimits
from tests.serving.live import KEY, SQL, Held, Serve, until, user


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
        ({"n": 5}, "n"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": 3}}}]}, "tools"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 3}}}},
            "response_format.json_schema.schema",
        ),
        ({"messages": user("word " * 900)}, "messages"),
        ({"messages": user("word " * 250), "max_tokens": 50}, "max_tokens"),
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
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().status == 413


def test_a_body_that_does_not_arrive(serve: Serve) -> None:
    server = serve(settings=HTTPSettings(body_seconds=0.1))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
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
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
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
        monkeypatch.setattr("qwen_lightning.serving.routing.planning.Planner.plan", broken)
        with pytest.raises(openai.InternalServerError, match="KeyError"):
            server.client().chat.completions.create(model="auto", messages=user("My secret."))
    ours = [record for record in caplog.records if record.name.startswith(("qwen", "uvicorn"))]
    assert any("KeyError" in record.getMessage() for record in ours)
    assert not any("secret" in record.getMessage() or record.exc_info for record in ours)
