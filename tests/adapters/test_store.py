"""Adapter folders: written whole, read back as they were, and refused by name where they are not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen_lightning.adapters.manifest import CONFIG_FILE, MANIFEST_FILE, WEIGHTS_FILE, Manifest
from qwen_lightning.adapters.store import load_adapter, save_adapter
from qwen_lightning.errors import AdapterError
from qwen_lightning.hashing import file_sha256
from qwen_lightning.models.policy import LoRASettings
from tests.conftest import Stage


@pytest.fixture
def folder(trained: Stage, tmp_path: Path) -> Path:
    """A copy of a trained adapter's folder."""
    return Path(shutil.copytree(trained.folder / "adapters" / "base-sft", tmp_path / "base-sft"))


def blank(name: str = "sql") -> Manifest:
    return Manifest(name=name, stage="grpo", base_model="demo/base", quantization="nf4")


def test_what_training_wrote_reads_back(folder: Path, trained: Stage) -> None:
    state, lora, manifest = load_adapter(folder)
    assert manifest.sha256 == file_sha256(folder / WEIGHTS_FILE)
    assert (manifest.name, manifest.stage, manifest.steps, manifest.parent) == ("base-sft", "sft", 3, None)
    assert manifest.base_model == str(trained.demo.base)
    assert manifest.quantization == "nf4"
    assert manifest.data[str(trained.demo.file("task_sft"))] == file_sha256(trained.demo.file("task_sft"))
    assert {"torch", "transformers", "peft", "qwen_lightning"} <= manifest.versions.keys()
    assert (lora.r, lora.alpha, lora.target_modules) == (16, 32, ["o_proj", "q_proj", "v_proj"])
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert any(tensor.abs().max() > 0 for name, tensor in state.items() if "lora_B" in name)  # it has learned


def test_a_folder_written_anew_is_the_same_adapter(folder: Path, tmp_path: Path) -> None:
    state, lora, manifest = load_adapter(folder)
    written = save_adapter(tmp_path / "deep" / "copy", state, lora, manifest)
    again, shape, read = load_adapter(tmp_path / "deep" / "copy")
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    assert (shape.r, shape.alpha, shape.target_modules) == (lora.r, lora.alpha, lora.target_modules)
    assert read == written
    assert read.sha256 == manifest.sha256
    assert not [path for path in (tmp_path / "deep").iterdir() if path.name.endswith(".partial")]


def test_an_older_adapter_is_replaced(folder: Path) -> None:
    state, lora, old = load_adapter(folder)
    save_adapter(folder, {name: tensor + 1 for name, tensor in state.items()}, lora, blank())
    again, _, manifest = load_adapter(folder)
    assert manifest.name == "sql"
    assert manifest.sha256 != old.sha256
    assert all(torch.equal(again[name], state[name] + 1) for name in state)


def test_what_a_stopped_write_left_is_no_hindrance(folder: Path) -> None:
    state, lora, _ = load_adapter(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir()
    (partial / WEIGHTS_FILE).write_bytes(b"half")
    save_adapter(folder, state, lora, blank())
    assert load_adapter(folder)[2].name == "sql"
    assert not partial.exists()


def test_a_folder_of_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    state, lora, _ = load_adapter(folder)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(AdapterError, match="holds something else"):
        save_adapter(tmp_path / "thesis", state, lora, blank())
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def _cut(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-100])


def _flip(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def _garbage_with_its_hash(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"no tensors at all")
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["sha256"] = file_sha256(folder / WEIGHTS_FILE)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def _other_kind(folder: Path) -> None:
    (folder / CONFIG_FILE).write_text(
        json.dumps({"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 4})
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: shutil.rmtree(folder), "no such adapter folder"),
        (lambda folder: (folder / MANIFEST_FILE).unlink(), f"no {MANIFEST_FILE}"),
        (lambda folder: (folder / CONFIG_FILE).unlink(), f"no {CONFIG_FILE}"),
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), f"no {WEIGHTS_FILE}"),
        (lambda folder: (folder / MANIFEST_FILE).write_text("{"), f"{MANIFEST_FILE}: file: Invalid JSON"),
        (lambda folder: (folder / MANIFEST_FILE).write_bytes(b"\xff\xfe"), MANIFEST_FILE),
        (
            lambda folder: (folder / MANIFEST_FILE).write_text('{"name": "sql"}'),
            f"{MANIFEST_FILE}: stage: Field required",
        ),
        (lambda folder: (folder / CONFIG_FILE).write_text("{"), f"{CONFIG_FILE} or {WEIGHTS_FILE} cannot be read"),
        (_cut, "the manifest's|the manifest says"),
        (_flip, "the manifest's|the manifest says"),
        (_garbage_with_its_hash, "cannot be read"),
        (_other_kind, "peft_type is .*PROMPT_TUNING, not LORA"),
    ],
)
def test_a_spoilt_folder_is_refused_by_name(folder: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(folder)
    with pytest.raises(AdapterError, match=said) as caught:
        load_adapter(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("use_rslora", True), ("use_dora", True), ("rank_pattern", {"q_proj": 4})])
def test_a_lora_that_would_compute_something_else_is_refused(folder: Path, key: str, value: object) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {key: value}))
    with pytest.raises(AdapterError, match=f"{CONFIG_FILE}: {key}"):
        load_adapter(folder)


def test_weights_that_are_not_contiguous_are_written(tmp_path: Path) -> None:
    tensor = torch.arange(12.0).reshape(3, 4).T
    save_adapter(tmp_path / "a", {"lora_A": tensor}, LoRASettings(), blank())
    assert torch.equal(load_file(tmp_path / "a" / WEIGHTS_FILE)["lora_A"], tensor)
    with pytest.raises(ValueError, match="contiguous"):  # what the copy is for
        save_file({"lora_A": tensor}, tmp_path / "plain.safetensors")
