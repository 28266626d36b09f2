"""What `serve --backend vllm` refuses at the start, and what it says to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_lightning.__main__ import main
from tests.rollout.vllm_server import VLLMLike, serving
from tests.serving.conftest import SHAPES
from tests.serving.live import KEY
from tools.demo.tiny import TinyDemo


@pytest.fixture(scope="module")
def vllm(demo: TinyDemo, adapters: Path) -> Iterator[VLLMLike]:
    with serving(demo.base) as server:
        for name in SHAPES:
            server.load({"lora_name": name, "lora_path": str(adapters / name)})
        yield server


def refused(capsys: pytest.CaptureFixture[str], adapters: Path, url: str | None, *more: str) -> str:
    """The one line that the command ends with."""
    address = [] if url is None else ["--url", url]
    command = ["serve", "--adapters", str(adapters), "--backend", "vllm", "--port", "0", *address, *more]
    capsys.readouterr()
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--quantization", "none"], "--quantization goes with --backend engine; vLLM is started with its own"),
        (["--dtype", "float32"], "--dtype goes with --backend engine"),
        (["--cache-tokens", "999"], "--cache-tokens goes with --backend engine"),
        (["--loaded-adapters", "2"], "started with its own --max-loras"),
        (["--backend", "engine"], "--url goes with --backend vllm"),
        (["--url", "gpu:8000"], "--url gpu:8000: give an address"),
        (["--url", "http://gpu:80000"], "--url http://gpu:80000: give an address"),
        (["--url", "http://me:secret@gpu:8000"], "leave name and password out"),
        (["--url-timeout", "0"], "--url-timeout is 0.0"),
        (["--url-timeout", "nan"], "--url-timeout is nan; it must be above 0, and finite"),
        (["--url-timeout", "inf"], "--url-timeout is inf"),
        (["--url-key-env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE: the variable is not set"),
        (["--url", "http://127.0.0.1:9"], "cannot be reached (All connection attempts failed); start it with: vllm"),
        (["--length", "2000"], "start it with --max-model-len 2000"),
        (["--served-model", "other"], "not other; serve that one"),
    ],
)
def test_what_cannot_be_meant(
    vllm: VLLMLike, adapters: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    said = refused(capsys, adapters, vllm.url, *more)
    assert message in said
    assert "secret" not in said


def test_no_address(adapters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--backend vllm needs --url" in refused(capsys, adapters, None)


def test_a_key_that_vllm_does_not_take(
    vllm: VLLMLike, adapters: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "key", KEY)
    monkeypatch.setenv("WRONG_KEY", "wrong")
    assert "refuses the key (status 401)" in refused(capsys, adapters, vllm.url, "--url-key-env", "WRONG_KEY")


def test_adapters_that_vllm_lacks_are_named_with_the_line_to_start_it(
    demo: TinyDemo, adapters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(demo.base) as server:
        server.load({"lora_name": "fc", "lora_path": str(adapters / "fc")})
        said = refused(capsys, adapters, server.url)
        assert "does not serve slot, sql; start it with: vllm serve" in said
        modules = " ".join(f"{name}={adapters / name}" for name in ("fc", "slot", "sql"))
        assert said.rstrip().endswith(f"--enable-lora --max-lora-rank 16 --max-loras 3 --lora-modules {modules}")
        # Another adapter under a name that is asked for is not that adapter.
        other = shutil.copytree(adapters / "sql", tmp_path / "sql")
        server.load({"lora_name": "sql", "lora_path": str(adapters / "slot")})
        assert f"adapter sql is that of {adapters / 'slot'}, whose weights are others" in refused(
            capsys, tmp_path, server.url
        )
        assert other.is_dir()


def test_another_backbone(
    demo: TinyDemo, adapters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], vllm: VLLMLike,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(vllm, "name", "org/other")
    monkeypatch.setattr(vllm, "root", "org/other")
    said = refused(capsys, adapters, vllm.url)
    assert f"has the base model org/other, not {demo.base}" in said
    assert "--served-model" in said
