"""A GRPO module around a given policy, as the benchmarks of update and step set it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

from qwen_lightning.losses.grpo import GRPOLoss
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.base import RolloutEngine
from qwen_lightning.rollout.experience import Experience
from qwen_lightning.tasks.registry import TaskRegistry
from tools.bench.cases import RolloutCase
from tools.bench.counting import counting_parts
from tools.bench.flops import Group
from tools.bench.harness import GivenGRPO
from tools.bench.options import Options, add_training, whole

BETA, LEARNING_RATE = 0.04, 1e-6


def add_step(parser: argparse.ArgumentParser) -> None:
    """Add what is set of a GRPO step."""
    parser.add_argument("--general", type=whole(0), default=1, help="general prompts a step, of at most 128 tokens")
    parser.add_argument("--micro-batch-tokens", type=whole(1), default=16384, help="tokens a forward and backward pass")
    add_training(parser)


@dataclass(frozen=True, slots=True)
class GRPOSettings:
    """What a case says of a step."""

    group_size: int
    new_tokens: int
    tasks: TaskRegistry
    rewards: RewardTable
    loss: GRPOLoss = field(default_factory=GRPOLoss)


def counting_settings(case: RolloutCase) -> GRPOSettings:
    """A case on the task that is verified at once."""
    return GRPOSettings(case.samples, case.new_tokens, *counting_parts())


def given_module(
    options: Options,
    policy: PolicyModel,
    renderer: ChatRenderer,
    engine: RolloutEngine,
    shared: bool,
    settings: GRPOSettings,
) -> GivenGRPO:
    """GRPO with KL on, and prompts shared or not."""
    return GivenGRPO(
        policy,
        renderer,
        shared,
        name_or_path="random weights",
        adapter="random weights",
        tasks=settings.tasks,
        rewards=settings.rewards,
        loss=settings.loss,
        rollout=engine,
        dtype=options.dtype,
        gradient_checkpointing=options.checkpointing_mode,
        group_size=settings.group_size,
        max_completion_length=settings.new_tokens,
        beta=BETA,
        learning_rate=LEARNING_RATE,
        warmup_steps=0,
        micro_batch_tokens=options.micro_batch_tokens,
        probe_tolerance=float("inf"),  # bf16 kernels may differ on random weights; the tests compare engines
        share_prompts=shared,
    )


def groups_of(experience: Experience) -> list[Group]:
    """Tokens of each prompt and of its completions; general prompts have one completion."""
    sizes = [(len(item.prompt), len(item.completion)) for item in experience.sequences]
    count, size = experience.task_completions, experience.group_size
    groups: list[Group] = [
        (sizes[start][0], [completion for _, completion in sizes[start : start + size]])
        for start in range(0, count, size)
    ]
    return groups + [(prompt, [completion]) for prompt, completion in sizes[count:]]
