"""The command `serve`."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.serving.engine.batch import Batch
from qwen_lightning.serving.engine.kv import KVBlocks
from qwen_lightning.serving.engine.runner import Part, Running
from qwen_lightning.serving.generation import Token
from tests.serving.live import KEY, SQL, until, user
from tools.demo.tiny import TinyDemo


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--adapters", "nowhere"], "nowhere: no such folder"),
        (["--databases", "nowhere"], "--databases nowhere: no such folder"),
        (["--running", "0"], "running is 0"),
        (["--max-tokens", "0"], "max_tokens is 0"),
        (["--body-bytes", "0"], "body_bytes is 0"),
        (["--grace", "-1"], "--grace is -1"),
        (["--grace", "inf"], "--grace is inf; it must be at least 0, and at most 86400"),
        (["--grace", "nan"], "--grace is nan"),
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


def serving_here(adapters: Path, ask: Callable[[openai.OpenAI], None], *flags: str, key: str = "none") -> int:
    """The command's exit code, while another thread asks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def there() -> bool:
        try:
            return bool(client.models.list().data)
        except openai.APIConnectionError:
            return False

    def ask_when_there() -> None:
        until(there)
        ask(client)

    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0) as client:
        asker = threading.Thread(target=ask_when_there)
        asker.start()
        code = main(["serve", "--adapters", str(adapters), "--port", port, *flags])
        asker.join(30)
        assert not asker.is_alive()
    return code


def test_the_command_serves_until_sigterm(
    adapters: Path, demo: TinyDemo, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own it is started and ended by the soak."""
    found: dict[str, Any] = {}

    def ask(client: openai.OpenAI) -> None:
        try:
            found["address"] = str(client.base_url).rstrip("/")
            found["said"] = client.chat.completions.create(model="auto", messages=user(SQL), max_tokens=3)
            name = min(path.stem for path in demo.databases.glob("*.sql"))
            asked = {"database": name, "language": "sql", "query": "SELECT 1 AS one"}
            found["table"] = client.post("/query", body=asked, cast_to=dict[str, object])
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setenv("SERVED_KEY", KEY)
    flags = ["--api-key-env", "SERVED_KEY", "--databases", str(demo.databases)]
    assert serving_here(adapters, ask, *flags, key=KEY) == 0
    out, err = capfd.readouterr()
    address = found["address"]
    more = f"with an API key, and a page to try it on {address.removesuffix('v1')}\n"
    assert out == f"Serving fc, slot, sql on {address} {more}"
    assert found["said"].model == "sql"
    assert (found["table"]["columns"], found["table"]["rows"]) == (["one"], [[1]])
    assert all(line.startswith("Loading weights") for line in err.splitlines() if line), err


def test_a_second_ctrl_c_ends_the_grace(
    adapters: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, said = Batch.step, []

    def slow(self: Batch, parts: list[Part]) -> list[tuple[Running, Token]]:
        time.sleep(0.05)  # 400 steps are 20 s, well within the grace
        return step(self, parts)

    def ask(client: openai.OpenAI) -> None:
        asked = {"model": "sql", "messages": user(SQL), "max_tokens": 400, "temperature": 1.5, "seed": 1}
        chunks = iter(client.chat.completions.create(**asked, stream=True))
        next(chunks)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        next(chunks)  # the first lets it go on
        os.kill(os.getpid(), signal.SIGINT)
        try:
            list(chunks)
        except openai.APIError as error:
            said.append(str(error))

    monkeypatch.setattr(Batch, "step", slow)
    assert serving_here(adapters, ask, "--grace", "600") == 0
    assert said == ["the server was shut down before the completion was done"]
    assert all(line.startswith("Loading weights") for line in capfd.readouterr().err.splitlines() if line)


def test_a_model_that_is_lost_ends_the_server(
    adapters: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("no device any more")

    def ask(client: openai.OpenAI) -> None:
        with pytest.raises(openai.InternalServerError, match="no device any more"):
            client.chat.completions.create(model="sql", messages=user(SQL), max_tokens=3)

    monkeypatch.setattr(Batch, "step", lost)
    monkeypatch.setattr(KVBlocks, "give", lost)
    assert serving_here(adapters, ask) == 5
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == "the model has failed (RuntimeError: no device any more); start the server anew"


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
