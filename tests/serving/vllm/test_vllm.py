"""`serve --backend vllm`, against a server that speaks vLLM's API and generates with the same adapters."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import openai
import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.commands.serve import add_arguments, limits_of, load_service
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.serving.generation import EngineClosedError, EngineFailedError, Sampling
from qwen_lightning.serving.http.api import HTTPSettings
from qwen_lightning.serving.service import RequestLimits
from qwen_lightning.serving.vllm import engine as vllm_engine
from tests.rollout.vllm_server import VLLMLike, serving
from tests.serving.conftest import SHAPES
from tests.serving.live import CALL, HEAD, KEY, SQL, WEATHER, Running, Serve, until, user
from tools.demo.tiny import TinyDemo
from tools.make_requests import ask

Proxy = Callable[..., Running]
LONG = {"model": "sql", "messages": user(SQL), "max_tokens": 300, "temperature": 1.5, "seed": 1}


@pytest.fixture(scope="module")
def loaded(demo: TinyDemo, adapters: Path) -> Iterator[VLLMLike]:
    with serving(demo.base) as server:
        load(server, adapters)
        yield server


@pytest.fixture
def vllm(demo: TinyDemo, loaded: VLLMLike) -> Iterator[VLLMLike]:
    with serving(demo.base, like=loaded) as server:
        yield server
        server.going.set()


def load(server: VLLMLike, adapters: Path) -> None:
    """What `--lora-modules` does."""
    for name in SHAPES:
        server.load({"lora_name": name, "lora_path": str(adapters / name)})


@pytest.fixture
def proxy(vllm: VLLMLike, adapters: Path) -> Iterator[Proxy]:
    """Servers of the command's own making over the test's vLLM."""
    made: list[Running] = []

    def start(*flags: str, settings: HTTPSettings | None = None, grace: float = 0.0) -> Running:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        url = vllm.url.removesuffix("/v1")
        args = parser.parse_args(["--adapters", str(adapters), "--backend", "vllm", "--url", url, *flags])
        service = load_service(args, limits_of(args), RequestLimits(args.default_tokens, args.max_tokens))
        made.append(Running(service, settings, grace))
        return made[-1]

    yield start
    vllm.going.set()
    for running in made:
        running.close()
        running.engine.close()


def says(renderer: ChatRenderer, text: str) -> list[dict]:
    """A stream's events that say a text."""
    ids = renderer.tokenizer(text, add_special_tokens=False)["input_ids"] + [renderer.end_of_turn]
    top = [{f"token_id:{token}": -0.5} for token in ids]
    return [
        {
            "choices": [
                {
                    "index": 0,
                    "token_ids": [token],
                    "logprobs": {"token_logprobs": [-0.5], "top_logprobs": [top[place]]},
                    "finish_reason": "stop" if token == ids[-1] else None,
                }
            ]
        }
        for place, token in enumerate(ids)
    ]


def test_answers_are_those_of_the_model_in_this_process(proxy: Proxy, serve: Serve, demo: TinyDemo) -> None:
    through, own = proxy(), serve()
    items = through.service.planner.tasks.reader.read(demo.file("task_regression"))
    requests = [next(iter(ask(item.record))).request for item in items[:12]]
    named = 0
    for asked, model in zip(requests, cycle(["auto", "sql", "base", "fc", "slot"])):
        body = {**asked, "model": model, "max_tokens": 20, "logprobs": True, "top_logprobs": 3}
        found, wanted = (json.loads(json.dumps(each.post(json.dumps(body).encode())[1])) for each in (through, own))
        (choice,), (expected,) = found["choices"], wanted["choices"]
        assert choice["message"] == expected["message"]
        assert choice["finish_reason"] == expected["finish_reason"]
        for key in ("model", "usage", "routing", "system_fingerprint"):
            assert found[key] == wanted[key]
        for said, meant in zip(choice["logprobs"]["content"], expected["logprobs"]["content"], strict=True):
            assert said["token"] == meant["token"]
            assert said["logprob"] == pytest.approx(meant["logprob"], abs=1e-4)
            assert [each["logprob"] for each in said["top_logprobs"]] == pytest.approx(
                [each["logprob"] for each in meant["top_logprobs"]], abs=1e-4
            )
        named += choice["message"]["content"] != ""
    assert named == len(requests) > 10
    assert through.engine.max_length == own.engine.max_length == 1024
    assert own.client().models.list().data[0].model_extra == through.client().models.list().data[0].model_extra
    status, text = through.get("/metrics")
    assert status == 200
    assert 'qwen_lightning_completions_total{reason="length"}' in text
    assert "cache_tokens" not in text


def test_streams_stops_choices_and_seeds(proxy: Proxy, vllm: VLLMLike, renderer: ChatRenderer) -> None:
    server = proxy()
    client = server.client()
    asked = {"model": "slot", "messages": user("Name a bird."), "temperature": 1.0, "max_tokens": 12, "seed": -1}
    three = client.chat.completions.create(**asked, n=3)
    texts = [choice.message.content for choice in three.choices]
    assert len(set(texts)) == 3
    assert client.chat.completions.create(**{**asked, "seed": 1}).choices[0].message.content == texts[2]
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, n=3, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts
    sent = vllm.bodies("completions")
    assert {body["seed"] for body in sent} == {2**63 - 1, 0, 1}
    assert all(body["model"] == "slot" and renderer.end_of_turn in body["stop_token_ids"] for body in sent)
    vllm.replies.append(says(renderer, "An eagle, a heron, a gull."))
    stopped = client.chat.completions.create(model="fc", messages=user("Birds?"), stop="heron", max_tokens=40)
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("An eagle, a ", "stop")
    until(lambda: not server.engine._open)
    assert "cancelled" not in server.engine.stats().counts.finished


def test_tools_and_a_second_answer(proxy: Proxy, vllm: VLLMLike, renderer: ChatRenderer) -> None:
    client = proxy("--verify").client()
    vllm.replies += [says(renderer, text) for text in (CALL, "SELECT a FROM ships", "SELECT count(*) FROM boats")]
    asked = {"model": "auto", "messages": user("Weather?"), "max_tokens": 300}
    call = client.chat.completions.create(**asked, tools=[WEATHER]).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "Köln"}
    query = client.chat.completions.create(model="auto", messages=user(SQL), max_tokens=60).choices[0]
    assert query.message.content == "SELECT count(*) FROM boats"
    assert query.verdict == {"passed": True, "detail": "", "repaired": True}


def asking(server: Running, body: dict) -> socket.socket:
    """A connection on which a request has been sent."""
    data = json.dumps(body).encode()
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data)
    return client


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_is_gone_at_vllm_too(proxy: Proxy, vllm: VLLMLike, stream: bool) -> None:
    server = proxy()
    vllm.going.clear()
    with asking(server, {**LONG, "n": 2, "stream": stream}):
        until(lambda: vllm.begun == 2 and server.engine.stats().running == 2)
    until(lambda: server.engine.stats().running == 0)
    vllm.going.set()
    until(lambda: vllm.aborted == 2)
    assert server.engine.stats().counts.finished == {"cancelled": 2}
    assert server.client().chat.completions.create(model="fc", messages=user("Hi."), max_tokens=2).model == "fc"


def test_a_client_that_goes_while_it_waits(proxy: Proxy, vllm: VLLMLike) -> None:
    server = proxy("--running", "1")
    vllm.going.clear()
    with asking(server, {**LONG, "max_tokens": 3, "stream": True}) as first:
        until(lambda: server.engine.stats().running == 1)
        with asking(server, {**LONG, "stream": True}):
            until(lambda: server.engine.stats().waiting == 1)
        until(lambda: server.engine.stats().waiting == 0)
        vllm.going.set()
        with first.makefile("rb") as answer:
            assert any(line == b"data: [DONE]\n" for line in answer)
    assert vllm.begun == 1
    assert server.engine.stats().counts.finished == {"length": 1, "cancelled": 1}


def test_a_stream_begins_with_its_first_choice(proxy: Proxy, vllm: VLLMLike) -> None:
    server = proxy("--running", "1")
    vllm.going.clear()
    stream = iter(server.client().chat.completions.create(**{**LONG, "max_tokens": 3, "n": 2}, stream=True))
    assert next(stream).choices[0].delta.role == "assistant"
    assert (vllm.begun, server.engine.stats().waiting) == (1, 1)
    vllm.going.set()
    ended = [chunk.choices[0].index for chunk in stream if chunk.choices[0].finish_reason]
    assert sorted(ended) == [0, 1]


def test_too_many_wait_here_and_get_429(proxy: Proxy, vllm: VLLMLike) -> None:
    server = proxy("--running", "1", "--waiting", "1")
    vllm.going.clear()
    asked = {**LONG, "max_tokens": 3}
    client, answers = server.client(), []
    threads = [
        threading.Thread(target=lambda: answers.append(client.chat.completions.create(**asked))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    until(lambda: server.engine.stats().waiting == server.engine.stats().running == 1)
    with pytest.raises(openai.RateLimitError) as full:
        client.chat.completions.create(**asked)
    assert full.value.response.headers["retry-after"] == "1"
    assert vllm.begun <= 1
    vllm.going.set()
    for thread in threads:
        thread.join(30)
    assert [answer.usage.completion_tokens for answer in answers] == [3, 3]
    assert server.engine.stats().counts.refused == 1


def scripted(vllm: VLLMLike, fault: str, renderer: ChatRenderer) -> None:
    """A fault of vLLM, by its name in the table below."""
    said = says(renderer, "Hello.")
    match fault.split():
        case ["answers", status]:
            vllm.busy, vllm.busy_status = 1, int(status)
        case ["breaks", count]:
            vllm.break_after = int(count)
        case ["fails", count]:
            vllm.fail_after = int(count)
        case ["ends", count]:
            vllm.stop_after = int(count)
        case ["loses"]:
            vllm.restart()
        case ["key"]:
            vllm.key = KEY
        case ["silent"]:
            vllm.going.clear()
        case ["noids"]:
            vllm.replies.append([{"choices": [{"index": 0, "text": "Hello."}]}])
        case ["nonsense"]:
            vllm.replies.append([{"text": "Hello."}])
        case ["notjson"]:
            vllm.replies.append(["Hello."])
        case ["behind"]:
            vllm.replies.append([*said[:-1], *said[-2:]])
            vllm.replies[-1][-2]["choices"][0]["token_ids"] = [renderer.end_of_turn]
        case ["abort"]:
            said[-1]["choices"][0]["finish_reason"] = "abort"
            vllm.replies.append(said)


#: A fault, the status of an answer that has not begun, and what is said.
FAULTS = """
answers 429 | 429 | too many requests
answers 503 | 503 | not ready
answers 500 | 502 | failed at the request (status 500): busy
loses | 502 | The model `sql` does not exist
key | 502 | --url-key-env
breaks 0 | 502 | broke before the completion's end
breaks 3 | 502 | broke before the completion's end
fails 3 | 502 | EngineCore encountered an issue
ends 3 | 502 | ended before the completion
silent | 502 | has sent nothing for 1 s
noids | 502 | take vLLM 0.10.2 or newer
nonsense | 502 | no completion
notjson | 502 | no completion
behind | 502 | tokens behind its end
abort | 502 | finish_reason 'abort'
"""


@pytest.mark.parametrize("fault", FAULTS.strip().splitlines())
def test_a_fault_of_vllm_is_told_as_such(proxy: Proxy, vllm: VLLMLike, renderer: ChatRenderer, fault: str) -> None:
    name, status, said = fault.split(" | ")
    server = proxy("--url-timeout", "1" if name == "silent" else "60")
    asked = {**LONG, "max_tokens": 40}
    for stream in (False, True):
        scripted(vllm, name, renderer)
        with pytest.raises(openai.APIError) as error:  # noqa: PT012  a stream's fault may come with its end
            answer = server.client().chat.completions.create(**asked, stream=stream)
            list(answer if stream else [])
        assert said in str(error.value)
        assert vllm.url.removeprefix("http://")[:15] not in str(error.value)  # the address is no client's business
        if not stream or name.split()[0] in ("answers", "loses", "key"):
            assert error.value.status_code == int(status)
            assert ("retry-after" in error.value.response.headers) == (status in ("429", "503"))
    until(lambda: server.engine.stats().running == 0)
    assert server.engine.stats().counts.finished["error"] == 2


def test_health_is_that_of_vllm(
    proxy: Proxy, vllm: VLLMLike, adapters: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(vllm_engine, "_WATCH_S", 0.02)
    server = proxy()

    def status() -> str:
        code, text = server.get("/health")
        found = json.loads(text)["status"]
        assert code == (200 if found == "ok" else 503)
        return found

    assert status() == "ok"
    vllm.restart()
    until(lambda: "no longer has the models" in status())
    load(vllm, adapters)
    vllm.adapters["sql"] = (str(adapters / "fc"), vllm.adapters["sql"][1])  # started anew with other weights
    until(lambda: any("whose weights are others" in record.getMessage() for record in caplog.records))
    assert "no longer has the models" in status()
    vllm.adapters["sql"] = (str(adapters / "sql"), vllm.adapters["sql"][1])
    until(lambda: status() == "ok")
    vllm.max_model_len = 200
    until(lambda: server.engine.max_length == 200)
    vllm.die()
    with pytest.raises(openai.InternalServerError, match="cannot be reached") as gone:
        server.client().chat.completions.create(**{**LONG, "max_tokens": 3})
    assert (gone.value.status_code, gone.value.code) == (503, "upstream_unavailable")
    assert gone.value.response.headers["retry-after"] == "1"
    until(lambda: "cannot be reached" in status())
    assert [SQL in record.getMessage() for record in caplog.records].count(True) == 0
    assert any("does not serve fc, slot, sql; start it with" in record.getMessage() for record in caplog.records)


def test_the_end_of_the_server_is_the_end_at_vllm(proxy: Proxy, vllm: VLLMLike) -> None:
    server = proxy(grace=0.3)
    vllm.going.clear()
    said: list[Exception] = []

    def wait_for_answer() -> None:
        with pytest.raises(openai.InternalServerError) as error:
            server.client().chat.completions.create(**LONG)
        said.append(error.value)

    client = threading.Thread(target=wait_for_answer)
    client.start()
    until(lambda: vllm.begun == 1)
    server.server.should_exit = True
    until(lambda: not server.engine.healthy)
    client.join(30)
    assert "shut down before the completion was done" in str(said[0])
    server.thread.join(30)
    assert not server.thread.is_alive()
    vllm.going.set()
    until(lambda: vllm.aborted == 1)


def test_a_second_close_ends_the_grace(proxy: Proxy, vllm: VLLMLike) -> None:
    engine = proxy().engine
    vllm.going.clear()
    generation = engine.submit([5, 6], "sql", Sampling(100))
    until(lambda: vllm.begun == 1)
    closing = threading.Thread(target=engine.close, args=(1000.0,))
    closing.start()
    until(lambda: not engine.healthy)
    engine.close()
    closing.join(30)
    assert not closing.is_alive()
    with pytest.raises(EngineClosedError, match="shut down before"):
        generation.tokens()


def test_nobody_waits_for_a_loop_that_is_lost(proxy: Proxy, vllm: VLLMLike) -> None:
    server = proxy()
    vllm.going.clear()
    generation = server.engine.submit([5, 6], "sql", Sampling(100))
    until(lambda: vllm.begun == 1)

    def lost() -> None:
        raise SystemExit("out of memory")  # what an event loop does not catch

    server.engine._loop.call_soon_threadsafe(lost)
    for reading in (generation.tokens, lambda: server.engine.submit([5, 6], "sql")):
        with pytest.raises(EngineFailedError, match=r"out of memory.*; start the server anew"):
            reading()
    assert server.engine.stats().counts.finished == {"error": 1}
    server.thread.join(30)  # it ends
    assert not server.thread.is_alive()


def test_the_command(
    vllm: VLLMLike, adapters: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vllm.key = KEY
    monkeypatch.setenv("VLLM_KEY", KEY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = ["serve", "--adapters", str(adapters), "--port", port, "--backend", "vllm"]
    command += ["--url", f"{vllm.url}/", "--url-key-env", "VLLM_KEY"]
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    chunks: list[Any] = []

    def models() -> list[str]:
        try:
            return [model.id for model in client.models.list()]
        except openai.APIConnectionError:
            return []

    def ask_and_end() -> None:
        until(lambda: models() == ["fc", "slot", "sql", "base"])
        try:
            stream = client.chat.completions.create(**{**LONG, "max_tokens": 30}, stream=True)
            chunks.append(next(iter(stream)))
            rebound = client.with_options(default_headers={"Host": "evil.example"})
            with pytest.raises(openai.PermissionDeniedError, match=r"'evil\.example' is not this machine"):
                rebound.models.list()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # it is served: the signal is the server's
        chunks.extend(stream)

    capsys.readouterr()
    asker = threading.Thread(target=ask_and_end)
    asker.start()
    assert main(command) == 0
    asker.join(30)
    assert chunks[0].routing["adapter"] == "sql"
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    out, err = capsys.readouterr()
    assert out.startswith("Serving fc, slot, sql on ")
    assert err == ""  # no weights are loaded
