"""RolloutEngine: where completions are sampled from the policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion.

    Args:
        ids: Token ids, its end of turn included where it came to one.
        logprobs: (len(ids),) fp32 log-probs of the ids under the sampling distribution, on the CPU.
        truncated: Whether the length limit cut it.
    """

    ids: list[int]
    logprobs: torch.Tensor
    truncated: bool


class RolloutEngine(ABC):
    """Samples completions with the adapter that the policy has in use.

    The sampling distribution is softmax(logits / temperature), whole: top-k, top-p and min-p would bias
    the policy ratio, so no engine offers them.
    """

    @abstractmethod
    def sample(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        prompts: list[list[int]],
        counts: Sequence[int],
        max_new_tokens: int,
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        """Complete every prompt as often as its own count says.

        Args:
            policy: The model; its adapter in use is the one that answers.
            renderer: Knows the ids that end a turn.
            prompts: Token ids of the prompts.
            counts: Completions of each prompt.
            max_new_tokens: Length limit of a completion, end of turn included.
            temperature: Divides the logits; 0 is greedy.

        Returns:
            Each prompt's completions, in order. They are drawn from torch's global generator.
        """

    def generate(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        prompts: list[list[int]],
        samples: int,
        max_new_tokens: int,
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        """Complete every prompt `samples` times; see `sample`."""
        return self.sample(policy, renderer, prompts, [samples] * len(prompts), max_new_tokens, temperature)

    def fingerprint(self, policy: PolicyModel) -> dict[str, Any]:
        """What completions depend on beside the weights: the settings, as far as they are plain values."""
        return {
            name: value
            for name, value in sorted(vars(self).items())
            if not name.startswith("_") and isinstance(value, str | int | float | bool | None)
        }

    def release(self) -> None:  # noqa: B027  most engines hold nothing
        """Give back the memory that is kept for the next call."""

    def close(self) -> None:
        """Give back all that the engine holds, also outside this process."""
        self.release()
