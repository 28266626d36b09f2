"""The command `serve`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from qwen_lightning.__main__ import main
from tests.serving.live import KEY, SQL, user
from tools.demo.tiny import TinyDemo


def test_the_command_serves_until_sigterm(adapters: Path, demo: TinyDemo) -> None:
    environment = {**os.environ, "SERVED_KEY": KEY}
    command = [sys.executable, "-m", "qwen_lightning", "serve", "--adapters", str(adapters), "--port", "0"]
    with subprocess.Popen(
        [*command, "--api-key-env", "SERVED_KEY", "--databases", str(demo.databases)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            line = process.stdout.readline()
            address = re.search(r"http://\S+", line)
            assert address, process.stderr.read()
            assert line.startswith("Serving fc, slot, sql on ")
            assert line.endswith(f" with an API key, and a page to try it on {address[0].removesuffix('v1')}\n")
            with openai.OpenAI(base_url=address[0], api_key=KEY, max_retries=5) as client:
                said = client.chat.completions.create(model="auto", messages=user(SQL), max_tokens=3)
                name = min(path.stem for path in demo.databases.glob("*.sql"))
                asked = {"database": name, "language": "sql", "query": "SELECT 1 AS one"}
                table = client.post("/query", body=asked, cast_to=dict[str, object])
            assert said.model == "sql"
            assert (table["columns"], table["rows"]) == (["one"], [[1]])
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
        (["--databases", "nowhere"], "--databases nowhere: no such folder"),
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
