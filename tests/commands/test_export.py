"""`export`: what it writes is what the trainer computes with."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwen_lightning.__main__ import main
from qwen_lightning.adapters.manifest import WEIGHTS_FILE, Manifest
from qwen_lightning.adapters.store import load_adapter
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.policy import PolicyModel
from tests.conftest import Stage

IDS = torch.arange(40, 72).reshape(2, 16)


@pytest.fixture
def adapter(trained: Stage, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.folder / "adapters" / "base-sft", tmp_path / "base-sft"))


def logits_of(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits


def policy_logits(adapter: Path, base: Path) -> Tensor:
    state, lora, _ = load_adapter(adapter)
    policy = PolicyModel(load_backbone(str(base), "none", "float32"), lora, state)
    with policy.evaluating():
        return policy.head(policy.hidden_states(IDS, torch.ones_like(IDS)))


def export(adapter: Path, output: Path, *more: str) -> int:
    return main(["export", "--adapter", str(adapter), "--output", str(output), *more])


def test_plain_peft_loads_the_exported_adapter(adapter: Path, trained: Stage, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "export"
    assert export(adapter, output) == 0
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in adapter.iterdir())
    assert Manifest.read(output) == Manifest.read(adapter)
    base = AutoModelForCausalLM.from_pretrained(trained.demo.base, dtype=torch.float32)
    before = logits_of(base)
    found = logits_of(PeftModel.from_pretrained(base, output))
    torch.testing.assert_close(found, policy_logits(adapter, trained.demo.base), rtol=0, atol=1e-6)
    assert (found - before).abs().max() > 1e-3  # the adapter does something


def test_the_line_for_vllm(adapter: Path, trained: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "with space" / "export"
    assert export(adapter, output) == 0
    first, line = capsys.readouterr().out.splitlines()
    assert first == f"base-sft: {output}"
    words = shlex.split(line.removeprefix("vLLM serves it with: "))
    assert words == [
        *("vllm", "serve", str(trained.demo.base), "--quantization", "bitsandbytes"),
        *("--enable-lora", "--max-lora-rank", "16"),
        *("--lora-modules", f"base-sft={output}"),
    ]
    assert export(adapter, tmp_path / "merged", "--merge") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"vLLM serves it with: vllm serve {tmp_path / 'merged'}"


def test_merged_weights_need_no_adapter(adapter: Path, trained: Stage, tmp_path: Path) -> None:
    output = tmp_path / "merged"
    assert export(adapter, output, "--merge") == 0
    merged = AutoModelForCausalLM.from_pretrained(output)
    assert type(merged).__name__ == "Qwen3ForCausalLM"
    assert merged.dtype == torch.float32  # the checkpoint's own
    assert getattr(merged.config, "quantization_config", None) is None
    torch.testing.assert_close(logits_of(merged), policy_logits(adapter, trained.demo.base), rtol=0, atol=1e-4)
    ours, theirs = AutoTokenizer.from_pretrained(trained.demo.base), AutoTokenizer.from_pretrained(output)
    assert theirs.chat_template == ours.chat_template
    assert theirs("SELECT 1")["input_ids"] == ours("SELECT 1")["input_ids"]
    assert Manifest.read(adapter).sha256 in (output / "manifest.json").read_text()


def test_merging_keeps_half_precision(adapter: Path, trained: Stage, tmp_path: Path) -> None:
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(trained.demo.base, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(trained.demo.base).save_pretrained(half)
    assert export(adapter, tmp_path / "merged", "--merge", "--model", str(half)) == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype == torch.bfloat16


@pytest.mark.parametrize("more", [(), ("--merge",)])
def test_an_output_that_is_there_is_not_touched(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    (tmp_path / "there").mkdir()
    assert export(adapter, tmp_path / "there", *more) == 2
    assert "is there already" in capsys.readouterr().err
    assert not any((tmp_path / "there").iterdir())


@pytest.mark.parametrize("more", [(), ("--merge",)])
def test_a_corrupt_adapter_writes_nothing(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    with open(adapter / WEIGHTS_FILE, "ab") as handle:
        handle.write(b"!")
    assert export(adapter, tmp_path / "out", *more) == 2
    error = capsys.readouterr().err.strip()
    assert str(adapter / WEIGHTS_FILE) in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there_or_does_not_fit_writes_nothing(
    adapter: Path, trained: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert export(adapter, tmp_path / "out", "--merge", "--model", str(tmp_path / "empty")) == 2
    assert "give a folder or a hub id" in capsys.readouterr().err
    other = AutoModelForCausalLM.from_pretrained(trained.demo.base).config
    other.num_hidden_layers = 1
    other.layer_types = other.layer_types[:1]
    AutoModelForCausalLM.from_config(other).save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(trained.demo.base).save_pretrained(tmp_path / "other")
    assert export(adapter, tmp_path / "out", "--merge", "--model", str(tmp_path / "other")) == 2
    assert "does not fit the backbone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
