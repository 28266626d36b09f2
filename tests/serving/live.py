"""A server in a thread, for tests: real but for what is scripted."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import openai

from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.serving.engine.engine import Engine
from qwen_lightning.serving.http.api import HTTPSettings, create_app
from qwen_lightning.serving.http.server import Server
from qwen_lightning.serving.service import ChatService

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
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


class Running:
    """A server in a thread."""

    def __init__(self, service: ChatService, settings: HTTPSettings | None, grace: float) -> None:
        self.engine, self.service = service.engine, service
        self._socket = Server.listen("127.0.0.1", 0)
        self.port = self._socket.getsockname()[1]
        settings = replace(settings or HTTPSettings(), loopback="127.0.0.1")
        self.server = Server(create_app(service, settings), service.engine, grace=grace)
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

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()
        self.service.close()


Serve = Callable[..., Running]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def script(engine: Engine, renderer: ChatRenderer, says: list[str]) -> None:
    """Replaces the sampled ids, one completion after the other; forward passes, limits and stops stay the engine's."""
    left = [renderer.tokenizer(text, add_special_tokens=False)["input_ids"] + [renderer.end_of_turn] for text in says]
    # Each with its completion, which is kept: another would get its id, and with it the script that is spent.
    scripts: dict[int, tuple[object, list[int]]] = {}
    step = engine._batch.step

    def scripted(parts):  # type: ignore[no-untyped-def]
        import dataclasses

        found = []
        for running, token in step(parts):
            if id(running) not in scripts:
                scripts[id(running)] = (running, left.pop(0))
            token = dataclasses.replace(token, id=scripts[id(running)][1].pop(0))
            running.ids[-1] = token.id
            found.append((running, token))
        return found

    engine._batch.step = scripted  # type: ignore[method-assign]


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


class Held:
    """Holds an engine before each step while it is not open."""

    def __init__(self, engine: Engine) -> None:
        self.open = threading.Event()
        self._step = engine._batch.step
        engine._batch.step = self._wait  # type: ignore[method-assign]

    def _wait(self, parts):  # type: ignore[no-untyped-def]
        assert self.open.wait(30)
        return self._step(parts)
