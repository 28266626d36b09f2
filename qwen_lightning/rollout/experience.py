"""Experience: what one rollout leaves for the update."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qwen_lightning.errors import ConfigError
from qwen_lightning.records import RecordBase
from qwen_lightning.regression.scores import ScoreRow
from qwen_lightning.rollout.base import Completion
from qwen_lightning.rollout.packs import TokenSequence
from qwen_lightning.verdict import Verdict


@dataclass
class Experience:
    """Completions of `groups` task prompts, `group_size` each, then one of each general prompt.

    Args:
        group_size: Completions a task prompt.
        records: One a completion.
        sequences: Prompt and completion ids, one a completion.
        completions: As sampled.
        texts: As decoded.
        verdicts: Of the task completions alone.
        rewards: (groups, group_size) fp32, nan where a completion has none.
        advantages: (groups, group_size) fp32.
        reference_logprobs: A (tokens,) tensor a completion, under the frozen reference.
        old_logprobs: The same under the policy that sampled, as the trainer computes it; None where the
            only update follows at once and the policy's own log-probs are the old ones.
        seconds: `rollout_seconds` of sampling, resampling included, and `verification_wait_seconds` for which
            verdicts came later than the reference's log-probs.
    """

    group_size: int
    records: list[RecordBase]
    sequences: list[TokenSequence]
    completions: list[Completion]
    texts: list[str]
    verdicts: list[Verdict] = field(default_factory=list)
    rewards: Tensor = field(default_factory=lambda: torch.empty(0))
    advantages: Tensor = field(default_factory=lambda: torch.empty(0))
    reference_logprobs: list[Tensor] = field(default_factory=list)
    old_logprobs: list[Tensor] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def groups(self) -> int:
        """How many task prompts."""
        return self.rewards.shape[0]

    @property
    def task(self) -> str:
        """The task that carries the reward."""
        return self.records[0].task

    @property
    def task_completions(self) -> int:
        """How many completions carry a reward; the general ones follow them."""
        return self.rewards.numel()

    def kl_only(self, member: int) -> bool:
        """Whether a completion answers a general prompt."""
        return member >= self.task_completions

    def advantage(self, member: int) -> float:
        """A completion's advantage; 0 for a general one."""
        return 0.0 if self.kl_only(member) else self.advantages.view(-1)[member].item()

    def rows(self) -> list[ScoreRow]:
        """Scores of the task completions; one that is masked for truncation has no reward."""
        rewards = self.rewards.flatten().tolist()
        return [
            ScoreRow(
                record.id,
                record.task,
                None if math.isnan(reward) else reward,
                verdict.checks,
                verdict.detail,
                completion=text,
            )
            for record, reward, verdict, text in zip(self.records, rewards, self.verdicts, self.texts, strict=False)
        ]

    def minibatches(self, count: int) -> list[list[int]]:
        """Completions of each optimizer step: whole groups in turn, the general ones spread over the steps.

        Raises:
            ConfigError: There are fewer groups than steps.
        """
        if count > self.groups:
            raise ConfigError(
                f"updates_per_rollout is {count}, but a device has {self.groups} prompts a step; "
                "lower it or raise prompts_per_step"
            )
        parts: list[list[int]] = [[] for _ in range(count)]
        for group in range(self.groups):
            parts[group % count] += range(group * self.group_size, (group + 1) * self.group_size)
        for position, member in enumerate(range(self.task_completions, len(self.sequences))):
            parts[position % count].append(member)
        return parts
