"""The layout of an SFT step changes neither its loss nor its gradient, and a run says how much was padding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from qwen_lightning.data.packing import lay_out, plan_packs, split_packs
from qwen_lightning.losses.base import StepTotals
from qwen_lightning.losses.logprobs import token_logprobs
from qwen_lightning.metrics.step import StepMetrics
from qwen_lightning.models.attention import Layout
from qwen_lightning.models.policy import LoRASettings
from qwen_lightning.modules.sft import SFTModule
from tests.conftest import Stage
from tools.demo.tiny import TinyDemo

CPU = torch.device("cpu")
SIZES = [(30, 9), (28, 2), (17, 17), (9, 1), (8, 12), (3, 4), (3, 1)]  # prompt and completion


@pytest.fixture(scope="module")
def module(demo: TinyDemo) -> SFTModule:
    module = SFTModule(str(demo.base), lora=LoRASettings(dropout=0.0), quantization="none", dtype="float32")
    module.configure_model()
    generator = torch.Generator().manual_seed(1)
    for parameter in module.policy.trainable():  # a fresh adapter's B is 0, and A has no gradient
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module


@pytest.fixture(scope="module")
def step() -> tuple[list[list[int]], list[list[int]]]:
    generator = torch.Generator().manual_seed(2)
    prompts, completions = (
        [torch.randint(5, 500, (size[part],), generator=generator).tolist() for size in SIZES] for part in (0, 1)
    )
    return prompts, completions


def gradients(module: SFTModule) -> Tensor:
    found = torch.cat([p.grad.flatten() for p in module.policy.trainable() if p.grad is not None])
    module.zero_grad()
    return found


@pytest.fixture(scope="module")
def alone(module: SFTModule, step: tuple[list[list[int]], list[list[int]]]) -> tuple[float, float, Tensor]:
    """The step's loss, entropy and gradient, from each example by itself and plain means."""
    logprobs, entropies = [], []
    for prompt, completion in zip(*step, strict=True):
        ids = torch.tensor([prompt + completion])
        hidden = module.policy.hidden_states(ids, torch.ones_like(ids))[0, len(prompt) - 1 : -1]
        found = token_logprobs(hidden, module.policy.head, torch.tensor(completion))
        logprobs.append(found[0])
        entropies.append(found[1])
    loss = -torch.cat(logprobs).mean()
    loss.backward()
    return loss.item(), torch.cat(entropies).mean().item(), gradients(module)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("budget", [1, 50, 128, 10**4])
@pytest.mark.parametrize("layout", ["flex", "dense", "plain"])
def test_packed_equals_unpacked(
    module: SFTModule,
    step: tuple[list[list[int]], list[list[int]]],
    alone: tuple[float, float, Tensor],
    layout: Layout,
    budget: int,
    ranks: int,
) -> None:
    prompts, completions = step
    shares = [list(range(len(SIZES)))[rank::ranks] for rank in range(ranks)]
    plans = []
    for share in shares:
        plan = plan_packs([sum(SIZES[i]) for i in share], budget, layout, CPU)
        plans.append([[share[i] for i in members] for members in plan])
    count = max(map(len, plans))
    totals = StepTotals(len(SIZES), sum(len(ids) for ids in completions), world_size=ranks)
    metrics, outputs = StepMetrics(), []
    for plan in plans:
        packs = split_packs(plan, [sum(size) for size in SIZES], count)
        assert len(packs) == min(count, sum(map(len, plan)))
        for members in packs:
            output = module.loss_of(lay_out(prompts, completions, members, layout, CPU), totals)
            (output.loss / ranks).backward()  # DDP takes the mean over ranks
            outputs.append(output)
    metrics.update(outputs)
    values = metrics.compute()
    loss, entropy, gradient = alone
    assert values["loss"].item() / ranks == pytest.approx(loss, rel=1e-5)
    assert values["nll"].item() == pytest.approx(loss, rel=1e-5)
    assert values["entropy"].item() == pytest.approx(entropy, rel=1e-5)
    torch.testing.assert_close(gradients(module), gradient, rtol=0, atol=1e-5 * float(gradient.abs().max()))
    if layout != "flex" and budget == 1:
        assert values["padding"].item() == 0


def test_a_run_says_how_much_is_padding(trained: Stage, scalars) -> None:
    values = scalars(Path(trained.log_dir("sft")))["train/padding"]
    assert len(values) == 3
    assert all(0 <= value < 0.3 for value in values)
