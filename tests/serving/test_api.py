"""The official client against a real server over the tiny model: what it says is noise, how it says it is not."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
from fastapi import FastAPI

from qwen_lightning.__main__ import main
from qwen_lightning.commands.workbench import load_planner
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.serving.api import HTTPSettings, create_app
from qwen_lightning.serving.checking import AnswerChecker
from qwen_lightning.serving.engine import Engine
from qwen_lightning.serving.generation import Sampling
from qwen_lightning.serving.server import Server
from qwen_lightning.serving.service import ChatService, RequestLimits
from tests.serving.conftest import MakeEngine

DDL = "CREATE TABLE boats (id INT, name TEXT);"
SQL = f"{DDL}\nHow many boats are there?"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>'
KEY = "key-of-a-test"


class Running:
    """A server in a thread."""

    def __init__(self, engine: Engine, app: FastAPI, grace: float = 0.0) -> None:
        self.engine = engine
        self._socket = Server.listen("127.0.0.1", 0)
        self.port = self._socket.getsockname()[1]
        self.server = Server(app, engine, grace=grace)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._socket]})
        self.thread.start()
        until(lambda: self.server.started)

    def client(self, key: str = "none", **more: int) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, **{"max_retries": 0, **more})

    def post(self, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, dict, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), dict(answer.getheaders())

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()


Serve = Callable[..., Running]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def serve(make_engine: MakeEngine, adapters: Path, renderer: ChatRenderer) -> Iterator[Serve]:
    """Servers over the three adapters; `says` scripts what the model says, in order, and leaves all else real."""
    made: list[Running] = []

    def start(
        says: list[str] | None = None,
        verify: bool = False,
        settings: HTTPSettings | None = None,
        asked: RequestLimits | None = None,
        grace: float = 0.0,
        **limits: int,
    ) -> Running:
        engine = make_engine(**limits)
        if says is not None:
            _script(engine, renderer, says)
        planner = load_planner([], str(adapters))
        service = ChatService(engine, planner, renderer, AnswerChecker(planner.tasks, verify), asked)
        made.append(Running(engine, create_app(service, settings), grace))
        return made[-1]

    yield start
    for running in made:
        running.close()


def _script(engine: Engine, renderer: ChatRenderer, says: list[str]) -> None:
    """Replaces the sampled ids, one completion after the other; forward passes, limits and stops stay the engine's."""
    left = [renderer.tokenizer(text, add_special_tokens=False)["input_ids"] + [renderer.end_of_turn] for text in says]
    scripts: dict[int, list[int]] = {}
    step = engine._batch.step

    def scripted(parts):  # type: ignore[no-untyped-def]
        import dataclasses

        found = []
        for running, token in step(parts):
            script = scripts.setdefault(id(running), left.pop(0) if id(running) not in scripts else [])
            token = dataclasses.replace(token, id=script.pop(0))
            running.ids[-1] = token.id
            found.append((running, token))
        return found

    engine._batch.step = scripted  # type: ignore[method-assign]


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


# ---------------------------------------------------------------------- answers


def test_chat_is_what_the_engine_says_under_the_routed_adapter(
    serve: Serve, renderer: ChatRenderer, adapters: Path
) -> None:
    server = serve()
    answer = server.client().chat.completions.with_raw_response.create(model="auto", messages=user(SQL), max_tokens=12)
    said = answer.parse()
    planner = load_planner([], str(adapters))
    from qwen_lightning.serving.requests import parse_request

    plan = planner.plan(parse_request({"messages": user(SQL)}))
    prompt = renderer.prompt_ids(plan.completion.prompt)
    alone = server.engine.submit(prompt, "sql", Sampling(12))
    tokens = alone.tokens()
    assert said.choices[0].message.content == renderer.decode([token.id for token in tokens])
    assert said.choices[0].finish_reason == alone.finish_reason
    assert said.usage.model_dump()["prompt_tokens"] == len(prompt)
    assert (said.usage.completion_tokens, said.usage.total_tokens) == (len(tokens), len(prompt) + len(tokens))
    assert said.model == "sql"
    assert said.routing == {"adapter": "sql", "task": "text2sql", "reason": plan.decision.reason}
    assert (answer.headers["x-adapter"], answer.headers["x-task"]) == ("sql", "text2sql")
    assert "DDL" in answer.headers["x-routing-reason"]
    assert re.fullmatch("fp_[0-9a-f]{12}", said.system_fingerprint)


@pytest.mark.parametrize("stop", [None, "heron"])
def test_a_stream_is_the_whole_answer_in_pieces(serve: Serve, stop: str | None) -> None:
    client = serve(None if stop is None else ["An eagle, a stork, an owl, a heron, a gull."] * 2).client()
    asked = {
        "model": "fc",
        "messages": user("Name a bird. 请说中文。"),
        "max_tokens": 40,
        "logprobs": True,
        "top_logprobs": 2,
    }
    if stop is not None:
        asked["stop"] = [stop, "never"]
    plain = client.chat.completions.create(**asked)
    if stop is not None:
        assert plain.choices[0].message.content == "An eagle, a stork, an owl, a "
        assert plain.choices[0].finish_reason == "stop"
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == plain.choices[0].message.content
    assert choices[0].delta.role == "assistant"
    assert choices[-1].finish_reason == plain.choices[0].finish_reason
    assert len(choices) > 5
    assert chunks[-1].usage == plain.usage
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.model for chunk in chunks} == {"fc"}
    streamed = [said for choice in choices if choice.logprobs for said in choice.logprobs.content]
    assert [said.token for said in streamed] == [said.token for said in plain.choices[0].logprobs.content]
    if stop is None:
        assert "".join(said.token for said in streamed) == plain.choices[0].message.content or any(
            said.bytes is None for said in streamed
        )
        assert all(len(said.top_logprobs) == 2 for said in streamed)
        assert all(said.logprob == pytest.approx(said.top_logprobs[0].logprob, abs=1e-4) for said in streamed)  # greedy


def test_n_choices_with_seeds_of_their_own(serve: Serve) -> None:
    client = serve().client()
    asked = {"model": "slot", "messages": user("Name a bird."), "temperature": 1.0, "max_tokens": 12}
    three = client.chat.completions.create(**asked, n=3, seed=7)
    texts = [choice.message.content for choice in three.choices]
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    for index, text in enumerate(texts):
        assert client.chat.completions.create(**asked, seed=7 + index).choices[0].message.content == text
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, n=3, seed=7, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


@pytest.mark.parametrize("before", ["", "I look it up. "])
@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls(serve: Serve, stream: bool, before: str) -> None:
    two = before + CALL + "\n" + CALL.replace("Köln", "Rome")
    client = serve([two, "None of the tools fits.", CALL.replace("weather", "wetter")]).client()

    def ask(**more: object) -> tuple[str | None, list, str]:
        asked = {"model": "auto", "messages": user("Weather?"), "tools": [WEATHER], "max_tokens": 300, **more}
        if not stream:
            choice = client.chat.completions.create(**asked).choices[0]
            return choice.message.content, choice.message.tool_calls or [], choice.finish_reason
        text, calls, reason = "", [], ""
        for chunk in client.chat.completions.create(**asked, stream=True):
            choice = chunk.choices[0]
            text, calls = text + (choice.delta.content or ""), calls + (choice.delta.tool_calls or [])
            reason = choice.finish_reason or reason
        return text or None, calls, reason

    text, calls, reason = ask()
    assert text == (before.strip() or None)
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("weather", {"city": "Köln"}),
        ("weather", {"city": "Rome"}),
    ]
    assert reason == "tool_calls"
    assert len({call.id for call in calls}) == 2
    assert ask() == ("None of the tools fits.", [], "stop")
    text, calls, reason = ask()  # a call of a tool that there is not is no call, and is not lost
    assert (text, calls, reason) == (CALL.replace("weather", "wetter"), [], "stop")


def test_a_conversation_goes_on_after_its_tools_answered(serve: Serve) -> None:
    client = serve([CALL, "It rains."]).client()
    messages = user("Weather in Köln?")
    first = client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER], max_tokens=100)
    call = first.choices[0].message.tool_calls[0]
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    second = client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER], max_tokens=100)
    assert second.choices[0].message.content == "It rains."
    assert second.routing["task"] == "general"


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}
TRIP = "Extract the fields: I fly to Rome."


@pytest.mark.parametrize("stream", [False, True])
def test_json_is_checked_and_asked_for_once_more(serve: Serve, stream: bool) -> None:
    client = serve(['{"town": "Rome"}', '{"city": "Rome"}', "no", "still no"], verify=True).client()

    def ask() -> tuple[str, dict, object]:
        asked = {"model": "slot", "messages": user(TRIP), "response_format": AS_SCHEMA, "max_tokens": 60}
        if not stream:
            said = client.chat.completions.create(**asked)
            return said.choices[0].message.content, said.choices[0].verdict, said.usage
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return text, chunks[-2].choices[0].verdict, chunks[-1].usage

    text, verdict, usage = ask()
    assert (text, verdict) == ('{"city": "Rome"}', {"passed": True, "detail": "", "repaired": True})
    again, verdict, more = ask()
    assert again == "no"
    assert (verdict["passed"], verdict["repaired"]) == (False, False)
    assert verdict["detail"].startswith("not JSON")
    assert usage.completion_tokens > 0
    assert more.prompt_tokens > 0


def test_json_is_checked_without_a_second_answer_unless_wanted(serve: Serve) -> None:
    client = serve(["[1]", '{"a": 1}']).client()
    asked = {"model": "base", "messages": user("Write JSON."), "response_format": {"type": "json_object"}}
    first = client.chat.completions.create(**asked, max_tokens=50).choices[0]
    assert (first.message.content, first.verdict["passed"]) == ("[1]", False)
    assert client.chat.completions.create(**asked, max_tokens=50).choices[0].verdict["passed"] is True


def test_a_query_is_verified_and_asked_for_once_more(serve: Serve) -> None:
    says = ["SELECT count(*) FROM ships", "SELECT count(*) FROM boats"]
    asked = {"model": "auto", "messages": user(SQL), "max_tokens": 60}
    choice = serve(says, verify=True).client().chat.completions.create(**asked).choices[0]
    assert choice.message.content == says[1]
    assert choice.verdict == {"passed": True, "detail": "", "repaired": True}
    choice = serve(says[:1]).client().chat.completions.create(**asked).choices[0]
    assert choice.message.content == says[0]
    assert "verdict" not in choice.model_extra


# ---------------------------------------------------------------------- models, health, metrics


def test_models_health_and_metrics(serve: Serve) -> None:
    server = serve()
    client = server.client()
    assert sorted(model.id for model in client.models.list()) == ["base", "fc", "slot", "sql"]
    assert client.models.retrieve("sql").owned_by == "qwen_lightning"
    with pytest.raises(openai.NotFoundError, match="no model 'nope'"):
        client.models.retrieve("nope")
    client.chat.completions.create(model="sql", messages=user(SQL), max_tokens=3)
    list(client.chat.completions.create(model="sql", messages=user(SQL), max_tokens=3, stream=True))
    assert server.get("/health") == (200, '{"status":"ok"}')
    status, text = server.get("/metrics")
    assert status == 200
    assert 'qwen_lightning_requests_total{adapter="sql",status="200",task="text2sql"} 2.0' in text
    assert 'qwen_lightning_request_seconds_count{adapter="sql"} 2.0' in text
    assert 'qwen_lightning_first_piece_seconds_count{adapter="sql"} 1.0' in text
    assert "qwen_lightning_completion_tokens_total 6.0" in text
    assert "qwen_lightning_running 0.0" in text
    assert "boats" not in text


# ---------------------------------------------------------------------- faults


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


# ---------------------------------------------------------------------- load, cancellation, end


class Held:
    """Holds an engine before each step while it is not open."""

    def __init__(self, engine: Engine) -> None:
        self.open = threading.Event()
        self._step = engine._batch.step
        engine._batch.step = self._wait  # type: ignore[method-assign]

    def _wait(self, parts):  # type: ignore[no-untyped-def]
        assert self.open.wait(30)
        return self._step(parts)


def test_too_many_get_429_with_retry_after_and_retries_succeed(serve: Serve) -> None:
    server = serve(running=1, waiting=1)
    held = Held(server.engine)
    client, asked = server.client(), {"model": "sql", "messages": user(SQL), "max_tokens": 3}
    streams = [client.chat.completions.create(**asked, stream=True) for _ in range(2)]
    until(lambda: server.engine._open == 2)
    with pytest.raises(openai.RateLimitError) as full:
        client.chat.completions.create(**asked)
    assert full.value.response.headers["retry-after"] == "1"
    assert full.value.code == "rate_limit_exceeded"
    with pytest.raises(openai.RateLimitError):  # all choices or none
        client.chat.completions.create(**asked, n=2, temperature=1.0)
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
    until(lambda: server.engine.stats().running == 0, 1.0)
    until(lambda: server.engine._open == 0)
    assert server.engine.stats().counts.finished["cancelled"] >= 1
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


def test_a_fault_that_nobody_expected_logs_nothing_of_the_request(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()

    def broken(self, request):  # type: ignore[no-untyped-def]
        raise KeyError(request.messages[0].content)

    with caplog.at_level(logging.DEBUG):
        monkeypatch.setattr("qwen_lightning.serving.planning.Planner.plan", broken)
        with pytest.raises(openai.InternalServerError, match="KeyError"):
            server.client().chat.completions.create(model="auto", messages=user("My secret."))
    ours = [record for record in caplog.records if record.name.startswith(("qwen", "uvicorn"))]
    assert any("KeyError" in record.getMessage() for record in ours)
    assert not any("secret" in record.getMessage() or record.exc_info for record in ours)


# ---------------------------------------------------------------------- the command


def test_the_command_serves_until_sigterm(adapters: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "SERVED_KEY": KEY}
    command = [sys.executable, "-m", "qwen_lightning", "serve", "--adapters", str(adapters), "--port", "0"]
    with subprocess.Popen(
        [*command, "--api-key-env", "SERVED_KEY"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            line = process.stdout.readline()
            address = re.search(r"http://\S+", line)
            assert address, process.stderr.read()
            assert line.startswith("Serving fc, slot, sql on ")
            with openai.OpenAI(base_url=address[0], api_key=KEY, max_retries=5) as client:
                said = client.chat.completions.create(model="auto", messages=user(SQL), max_tokens=3)
            assert said.model == "sql"
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert out == ""
    assert all(line.startswith("Loading weights") for line in err.splitlines() if line), err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--adapters", "nowhere"], "nowhere: no such folder"),
        (["--running", "0"], "running is 0"),
        (["--max-tokens", "0"], "max_tokens is 0"),
        (["--body-bytes", "0"], "body_bytes is 0"),
        (["--grace", "-1"], "--grace is -1"),
        (["--port", "99999"], "--port 99999"),
        (["--api-key-env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE: the variable is not set"),
    ],
)
def test_what_the_command_refuses(
    adapters: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(["serve", "--adapters", str(adapters), "--port", "0", *more]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)


def test_a_corrupt_adapter_is_refused_by_name(
    adapters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    root = tmp_path / "adapters"
    shutil.copytree(adapters, root)
    weights = root / "fc" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert main(["serve", "--adapters", str(root), "--port", "0"]) == 2
    assert str(root / "fc") in capsys.readouterr().err
    shutil.rmtree(root / "fc")
    (root / "sql").rename(root / "other")
    assert main(["serve", "--adapters", str(root), "--port", "0"]) == 2
    assert "holds the adapter 'sql'" in capsys.readouterr().err
