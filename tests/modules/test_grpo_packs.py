"""The update's loss and gradient do not depend on how completions are packed, whatever the loss type."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from qwen_lightning.__main__ import main
from qwen_lightning.losses.base import LossOutput, StepTotals
from qwen_lightning.losses.grpo import GRPOLoss, ImportanceLevel, LossType
from qwen_lightning.models.attention import Layout
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.checkpointing import recompute_layers
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from qwen_lightning.modules.grpo import GRPOModule
from qwen_lightning.rollout.base import Completion
from qwen_lightning.rollout.experience import Experience
from qwen_lightning.rollout.packs import TokenSequence, build_packs, sequence_logprobs
from tests.conftest import Stage
from tools.demo.tiny import TinyDemo

pytestmark = pytest.mark.filterwarnings("ignore:loss. with importance_level")

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")),
]
GROUP, GROUPS, GENERAL = 4, 3, 2


def policy_of(demo: TinyDemo, device: str, quantization: str = "none") -> PolicyModel:
    """A policy whose adapter does something, in training mode with its layers recomputed."""
    torch.manual_seed(0)
    backbone = load_backbone(str(demo.base), quantization, "float32", device)  # type: ignore[arg-type]
    recompute_layers(backbone, 2)
    policy = PolicyModel(backbone, LoRASettings(dropout=0.0))
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return policy.to(device).train()


@pytest.fixture(scope="module")
def policies(demo: TinyDemo) -> Callable[[str], PolicyModel]:
    """One policy a device."""
    made: dict[str, PolicyModel] = {}
    return lambda device: made.setdefault(device, policy_of(demo, device))


def experience(policy: PolicyModel) -> Experience:
    """Ragged groups of unlike prompts, then general rows; ratios on both sides of the clip range, two cut short."""
    generator = torch.Generator().manual_seed(3)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    def ids(count: int) -> list[int]:
        return torch.randint(10, 300, (count,), generator=generator).tolist()

    sequences = []
    for size in [GROUP] * GROUPS + [1] * GENERAL:
        prompt = ids(draw(5, 40))
        sequences += [TokenSequence(prompt, ids(draw(1, 12))) for _ in range(size)]

    def near(scale: float) -> list[Tensor]:
        # Near what this model gives, so that ratios are neither all clipped nor all 1.
        return [(values + scale * torch.randn(len(values), generator=generator).to(values.device)) for values in own]

    own = sequence_logprobs(policy, sequences, 10**6)
    rollout = near(0.05)
    completions = [
        Completion(sequence.completion, values, truncated=index in (2, 9, 13))
        for index, (sequence, values) in enumerate(zip(sequences, rollout, strict=True))
    ]
    advantages = torch.randn(GROUPS, GROUP, generator=generator)
    return Experience(
        group_size=GROUP,
        records=[],
        sequences=sequences,
        completions=completions,
        texts=[],
        rewards=advantages,
        advantages=advantages,
        reference_logprobs=near(0.3),
        old_logprobs=near(0.3),
    )


def module_of(policy: PolicyModel, **options: Any) -> GRPOModule:
    loss = GRPOLoss(max_completion_length=16, mismatch="truncate", **options)
    module = GRPOModule(
        name_or_path="", adapter="", loss=loss, max_completion_length=16, mask_truncated=True, temperature=0.9, beta=0.1
    )
    module.policy = policy
    return module


def update(
    module: GRPOModule, data: Experience, layout: Layout, budget: int
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """The step's loss, metrics and gradient over all packs."""
    device = module.policy.device
    members = range(len(data.sequences))
    packs = build_packs(data.sequences, members, budget, device, layout)
    totals = StepTotals.count(module._rows(pack, data) for pack in packs)
    module.policy.zero_grad()
    outputs: list[LossOutput] = []
    for pack in packs:
        output = module.loss_of(pack, data, totals)
        output.loss.backward()
        outputs.append(output)
    gradient = torch.cat([p.grad.flatten() for p in module.policy.trainable() if p.grad is not None])
    metrics = {
        name: torch.stack([output.metrics[name] for output in outputs]).sum(0)
        for name in module.loss.MEANS
        if name in outputs[0].metrics
    }
    return torch.stack([output.loss.detach() for output in outputs]).sum(), metrics, gradient


def compare(module: GRPOModule, data: Experience, tolerance: float) -> None:
    loss, metrics, gradient = update(module, data, "plain", 1)
    scale = float(gradient.abs().max())
    assert scale > 0
    layouts: list[Layout] = ["dense", "flex"] if module.policy.device.type == "cpu" else ["flex"]
    for layout in layouts:
        for budget in (10**6, 150):
            packed = update(module, data, layout, budget)
            torch.testing.assert_close(packed[0], loss, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(packed[2], gradient, rtol=0, atol=tolerance * scale)
            assert packed[1].keys() == metrics.keys()
            for name, value in metrics.items():
                torch.testing.assert_close(packed[1][name], value, rtol=10 * tolerance, atol=10 * tolerance, msg=name)
    assert float(metrics["general_kl"][1]) > 0, "no general row carried KL"
    assert 0 < float(metrics["clip_low"][0] + metrics["clip_high"][0]) < float(metrics["clip_low"][1])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo"])
def test_packed_loss_and_gradient_are_those_of_one_row_a_completion(
    policies: Callable[[str], PolicyModel], loss_type: LossType, level: ImportanceLevel, device: str
) -> None:
    policy = policies(device)
    epsilon = 0.2 if level == "token" else 0.02  # a completion's mean ratio is nearer to 1
    options = {"epsilon_low": epsilon, "epsilon_high": 1 + epsilon / 2 if loss_type == "cispo" else epsilon}
    compare(module_of(policy, loss_type=loss_type, importance_level=level, **options), experience(policy), 1e-5)


def test_a_run_that_shares_prompts_takes_the_steps_of_one_that_does_not(trained: Stage, stage: Stage) -> None:
    gradients, losses = [], []
    for share in (False, True):
        run = f"share-{share}"
        shutil.copytree(trained.folder / "adapters", stage.folder / "adapters", dirs_exist_ok=True)
        folder = stage.folder / f"{run}-first"
        folder.mkdir()
        changes = stage.changes("grpo", 1, run, every=10)
        changes["model"]["init_args"] |= {
            "rollout": {"class_path": "tests.modules.replay.ReplayRollout"},
            "share_prompts": share,
            "micro_batch_tokens": 700,
            "gradient_clip": 0,
        }
        changes["trainer"]["callbacks"] = [
            {"class_path": "tests.modules.replay.FirstStep", "init_args": {"folder": str(folder)}}
        ]
        assert main(["fit", "-c", "configs/grpo_sql.yaml", "-c", stage.overlay(run, changes)]) == 0
        gradients.append(torch.load(folder / "gradients.pt"))
        losses.append(json.loads((folder / "loss.json").read_text())["train/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-7)
    scale = max(float(value.abs().max()) for value in gradients[0].values())
    assert scale > 0
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-4, atol=1e-6 * scale, msg=name)


def test_packed_in_four_bits(demo: TinyDemo) -> None:
    policy = policy_of(demo, "cpu", "nf4")
    compare(module_of(policy), experience(policy), 1e-5)
