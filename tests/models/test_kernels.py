"""Liger's layers: where they are used, and that they are those of one backbone alone."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedConfig, PreTrainedModel, Qwen3Config

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.backbone import ARCHITECTURES
from qwen_lightning.models.kernels import replace_layers, use_kernels
from tests.models.test_attention import CONFIGS

IDS = torch.arange(2, 22).reshape(2, 10)


def backbone_of(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).requires_grad_(False)


def on_cuda(backbone: PreTrainedModel) -> PreTrainedModel:
    """As `use_kernels` sees one there; what comes after its first look at the device needs none."""
    backbone.get_input_embeddings = lambda: SimpleNamespace(  # type: ignore[method-assign, assignment]
        weight=SimpleNamespace(device=torch.device("cuda"))
    )
    return backbone


def outputs(backbone: PreTrainedModel, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Logits, and the gradient by the embeddings."""
    rows = backbone.get_input_embeddings()(IDS.to(device)).detach().requires_grad_()
    logits = backbone(inputs_embeds=rows, attention_mask=torch.ones_like(IDS, device=device)).logits
    logits.square().mean().backward()
    assert rows.grad is not None
    return logits.detach(), rows.grad


@pytest.fixture
def restored() -> Iterator[None]:
    """Rotary embeddings as transformers has them, afterwards."""
    modules = [importlib.import_module(f"transformers.models.{kind}.modeling_{kind}") for kind in ARCHITECTURES]
    before = [module.apply_rotary_pos_emb for module in modules]
    yield
    for module, function in zip(modules, before, strict=True):
        module.apply_rotary_pos_emb = function  # type: ignore[attr-defined]


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """liger-kernel as if it were not installed."""
    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if "liger" in name else find(name, *more))


@pytest.mark.parametrize("kernels", ["auto", "liger", "none"])
def test_on_a_cpu_nothing_is_replaced_and_nothing_said(kernels: Any, recwarn: pytest.WarningsRecorder) -> None:
    backbone = backbone_of(CONFIGS["qwen3"])
    before = outputs(backbone)
    assert not use_kernels(backbone, kernels)
    assert all("forward" not in vars(module) for module in backbone.modules())
    for one, other in zip(before, outputs(backbone), strict=True):
        assert torch.equal(one, other)
    assert not recwarn.list


def test_absent_it_is_an_error_only_where_asked_for(absent: None) -> None:
    backbone = on_cuda(backbone_of(CONFIGS["qwen3"]))
    assert not use_kernels(backbone, "auto")
    assert not use_kernels(backbone, "none")
    with pytest.raises(ConfigError, match=r"liger-kernel is not installed; pip install 'qwen_lightning\[gpu\]'"):
        use_kernels(backbone, "liger")


def test_another_architecture_is_an_error_only_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace())  # as installed
    backbone = on_cuda(backbone_of(GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=2)))
    assert not use_kernels(backbone, "auto")
    with pytest.raises(ConfigError, match="this is gpt2"):
        use_kernels(backbone, "liger")


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_layers_of_one_backbone_are_replaced(kind: str, restored: None) -> None:
    pytest.importorskip("liger_kernel", reason="the extra `gpu` is not installed")
    config = CONFIGS[kind]
    bystander, backbone = backbone_of(config), backbone_of(config)
    before = outputs(bystander)
    names = {name: module.__class__ for name, module in backbone.named_modules()}
    assert use_kernels(on_cuda(backbone), "liger")
    replaced = {name for name, module in backbone.named_modules() if "forward" in vars(module)}
    wanted = {name for name in names if name.endswith(("norm", "mlp"))}
    assert replaced == wanted
    assert "model.layers.1.mlp" in wanted
    assert "model.norm" in wanted
    # Neither the other backbone nor one that is built later notices.
    modeling = sys.modules[f"transformers.models.{kind}.modeling_{kind}"]
    rotary = modeling.apply_rotary_pos_emb  # type: ignore[attr-defined]
    for other in (bystander, backbone_of(config)):
        assert {module.__class__ for module in other.modules()} == set(names.values())
        for one, value in zip(before, outputs(other), strict=True):
            assert torch.equal(one, value)
    replace_layers(backbone_of(config))
    assert modeling.apply_rotary_pos_emb is rotary, "one wrapper is enough"  # type: ignore[attr-defined]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_liger_computes_what_transformers_does(kind: str, restored: None) -> None:
    pytest.importorskip("liger_kernel", reason="the extra `gpu` is not installed")
    backbone = backbone_of(CONFIGS[kind]).cuda()
    expected = outputs(backbone, "cuda")
    assert use_kernels(backbone)
    for one, other in zip(expected, outputs(backbone, "cuda"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


def test_an_activation_other_than_silu_keeps_its_mlp(restored: None) -> None:
    pytest.importorskip("liger_kernel", reason="the extra `gpu` is not installed")
    config = Qwen3Config(**{**CONFIGS["qwen3"].to_diff_dict(), "hidden_act": "gelu"})
    backbone = backbone_of(config)
    replace_layers(backbone)
    assert not any("forward" in vars(layer.mlp) for layer in backbone.model.layers)  # type: ignore[union-attr]
    assert "forward" in vars(backbone.model.norm)  # type: ignore[union-attr, arg-type]
