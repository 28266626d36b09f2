"""Recomputing layers changes nothing but memory: which ones, how many, and what a pass is measured to hold."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from qwen_lightning.losses.logprobs import HEAD_ROWS, token_logprobs
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.checkpointing import (
    RESERVE,
    Activations,
    Checkpointing,
    _tensors,
    decoder_layers,
    layers_to_recompute,
    measure_activations,
    recompute_layers,
)
from qwen_lightning.models.memory import free_memory
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from qwen_lightning.models.spans import Spans
from tools.demo.tiny import TinyDemo

IDS = torch.randint(40, 300, (2, 24), generator=torch.Generator().manual_seed(3))
LAYERS = 2


def policy_of(demo: TinyDemo, quantization: str = "none", device: str = "cpu", **lora: Any) -> PolicyModel:
    backbone = load_backbone(str(demo.base), quantization, "float32", device)  # type: ignore[arg-type]
    policy = PolicyModel(backbone, LoRASettings(**lora)).train()
    generator = torch.Generator().manual_seed(4)
    for parameter in policy.trainable():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator).to(device)
    return policy


class Given(Checkpointing):
    """Plans for as much memory as it is given."""

    given: float | None = None

    def free(self) -> float | None:
        return self.given


def forward(policy: PolicyModel, ids: Tensor = IDS) -> Tensor:
    ids = ids.to(policy.device)
    return policy.hidden_states(ids, torch.ones_like(ids)).square().mean()


def test_as_few_layers_as_fit_and_the_first_ones() -> None:
    activations = Activations(layers=(100.0,) * 4, inputs=(10.0,) * 4, rest=5.0)
    # Ten tokens: 1000 a layer, 100 an input, 50 beside them, 1000 for gradients.
    peaks = [5050, 4150, 3250, 2350, 2450]
    assert [activations.peak(10, recomputed) for recomputed in range(5)] == peaks
    for budget, expected in ((5050, 0), (5049, 1), (4150, 1), (4149, 2), (2350, 3), (2349, 4), (0, 4)):
        assert layers_to_recompute(activations, 10, budget) == expected
    assert layers_to_recompute(activations, 20, 5050) == 3
    # Logits are there when all layers still hold theirs, and gradients are not.
    assert layers_to_recompute(activations, 10, 5050, head=900) == 0
    assert layers_to_recompute(activations, 10, 5050, head=1100) == 1
    uneven = Activations(layers=(100.0, 20.0, 40.0), inputs=(10.0,) * 3, rest=0.0)
    assert [uneven.peak(1, recomputed) for recomputed in range(4)] == [260, 170, 160, 230]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_any_choice_of_layers_gives_the_same_bits(demo: TinyDemo, quantization: str) -> None:
    policy = policy_of(demo, quantization, dropout=0.3)
    found = []
    for count in range(LAYERS + 1):
        recompute_layers(policy.backbone, count)
        runs = [0] * LAYERS

        def ran(module: Any, args: Any, output: Any, index: int = 0, runs: list[int] = runs) -> None:
            runs[module.layer_idx] += 1

        hooks = [layer.self_attn.register_forward_hook(ran) for layer in decoder_layers(policy.backbone)]  # type: ignore[union-attr]
        torch.manual_seed(5)
        loss = forward(policy)
        loss.backward()
        for hook in hooks:
            hook.remove()
        assert runs == [2] * count + [1] * (LAYERS - count)
        found.append([loss.detach(), *(p.grad.clone() for p in policy.trainable() if p.grad is not None)])
        policy.zero_grad()
    assert len(found[0]) == 1 + len(policy.trainable())
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_measured_is_what_autograd_keeps(demo: TinyDemo, quantization: str) -> None:
    policy = policy_of(demo, quantization, dropout=0.1)
    state = torch.get_rng_state()
    measured = measure_activations(policy.backbone, IDS.numel(), lambda: forward(policy))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in policy.parameters())

    kept: dict[int, Tensor] = {}  # of one ordinary pass, whose graph is still there

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward(policy)
    for weight in policy.parameters():
        kept.pop(weight.untyped_storage().data_ptr(), None)
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / IDS.numel()
    assert sum(measured.layers) + measured.rest == pytest.approx(total, rel=0.02)
    assert loss.requires_grad

    hidden = policy.backbone.config.hidden_size
    assert measured.inputs == (4.0 * hidden,) * LAYERS
    assert all(kept_whole > 5 * alone for kept_whole, alone in zip(measured.layers, measured.inputs, strict=True))


def test_adapters_and_length_show_in_what_is_measured(demo: TinyDemo) -> None:
    sizes = {}
    for name, lora in (("few", {"target_modules": ["v_proj"]}), ("more", {"dropout": 0.2})):
        policy = policy_of(demo, **lora)
        for length in (1, 4):
            ids = IDS.repeat(length, 1)
            sizes[name, length] = measure_activations(policy.backbone, ids.numel(), partial(forward, policy, ids))
    assert sum(sizes["more", 1].layers) > 1.1 * sum(sizes["few", 1].layers)
    for name in ("few", "more"):
        assert sizes[name, 4].layers == pytest.approx(sizes[name, 1].layers, rel=0.05)


def test_a_plan_follows_memory_and_the_largest_pack(demo: TinyDemo) -> None:
    policy = policy_of(demo)
    measured = measure_activations(policy.backbone, IDS.numel(), lambda: forward(policy))
    plan = Given(policy.backbone, "auto", pack_tokens=1000, head_rows=16)
    adapters = 3 * sum(parameter.nbytes for parameter in policy.trainable())
    head = 4 * 4 * 16 * policy.backbone.config.vocab_size

    def room(tokens: int, recomputed: int) -> float:
        return RESERVE + adapters + measured.peak(tokens, recomputed, head) + 1

    def prepare(tokens: int, free: float | None = None) -> str | None:
        plan.given = free
        return plan.prepare(tokens, lambda: forward(policy))

    def flags() -> list[bool]:
        return [layer.gradient_checkpointing for layer in decoder_layers(policy.backbone)]

    assert prepare(IDS.numel()) is None  # on a CPU, memory is not the matter
    assert flags() == [False, False]
    assert plan.needed is None
    line = prepare(IDS.numel(), room(1000, 0))
    assert line is not None
    assert "0 of 2 layers" in line
    assert "a pack of 1000 tokens" in line
    assert "lower micro_batch_tokens" not in line
    assert plan.needed == pytest.approx(room(1000, 0) - RESERVE / 2, abs=2)
    assert not plan.is_short()
    plan.given = plan.needed - 1
    assert plan.is_short()
    assert prepare(1000, 0.0) is None  # it is planned for
    assert flags() == [False, False]
    assert "1 of 2 layers" in str(prepare(2000, room(2000, 1)))
    assert flags() == [True, False]
    assert "1 of 2 layers" in str(prepare(2001, 1e15))  # what is recomputed stays so
    line = prepare(3000, 0.0)
    assert line is not None
    assert "2 of 2 layers" in line
    assert "lower micro_batch_tokens" in line
    assert flags() == [True, True]
    assert not plan.recompute_all()


@pytest.mark.parametrize(("mode", "expected"), [(True, LAYERS), (False, 0), ("auto", 0)])
def test_modes(demo: TinyDemo, mode: Any, expected: int) -> None:
    policy = policy_of(demo)
    plan = Checkpointing(policy.backbone, mode, pack_tokens=1000, head_rows=16)
    assert plan.prepare(10, lambda: forward(policy)) is None
    assert not plan.is_short()
    assert plan.recomputed == expected
    assert [layer.gradient_checkpointing for layer in decoder_layers(policy.backbone)].count(True) == expected


def test_memory_is_the_matter_on_a_gpu_alone() -> None:
    assert free_memory(torch.device("cpu")) is None


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_what_a_block_mask_holds_counts_in_no_layer() -> None:
    row = IDS.reshape(1, -1)
    start = torch.zeros_like(row)
    start[:, 20:] = 20
    mask = Spans(torch.zeros_like(row), torch.zeros_like(row), start).block_mask(16)
    held = {tensor.untyped_storage().data_ptr() for tensor in mask.as_tuple() if isinstance(tensor, Tensor)}
    assert len(held) > 3
    held |= {cell.cell_contents.untyped_storage().data_ptr() for cell in mask.mask_mod.__closure__}
    assert held <= {tensor.untyped_storage().data_ptr() for tensor in _tensors((0, [mask]))}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_step_stays_within_its_plan(tmp_path: Path) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8,
                         num_key_value_heads=4, head_dim=64, vocab_size=1000)  # fmt: skip
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    policy = PolicyModel(load_backbone(str(tmp_path), "nf4", "bfloat16", "cuda"), LoRASettings()).train()
    assert policy.layout == "flex"
    ids = torch.randint(0, 1000, (1, 4096), device="cuda")
    position = torch.arange(4096, device="cuda")[None] % 512
    nothing = torch.zeros_like(position)
    spans = Spans(nothing, nothing, torch.arange(4096, device="cuda")[None] - position)

    def forward() -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            hidden = policy.hidden_states(ids, spans, position)[0]
        return -token_logprobs(hidden[:-1], policy.head, ids[0, 1:])[0].mean()

    measured = measure_activations(policy.backbone, ids.numel(), forward)
    plan = Checkpointing(policy.backbone, "auto", ids.numel(), HEAD_ROWS)
    peaks = []
    for count in (0, 4, 8):
        recompute_layers(policy.backbone, count)
        for _ in range(2):  # the first allocates gradients and workspaces
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            forward().backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
        needed = measured.peak(ids.numel(), count, plan._head)
        assert 0.4 * needed < peaks[-1] < needed + 2**26  # weights are dequantised a layer at a time
    assert peaks == sorted(peaks, reverse=True)
    assert plan.prepare(ids.numel(), forward) is not None
    assert not plan.is_short()
    assert free_memory(torch.device("cuda", 0)) > 0  # type: ignore[operator]
