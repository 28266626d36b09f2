"""RolloutEngine: where completions are sampled from the policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

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
    def generate(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        prompts: list[list[int]],
        samples: int,
        max_new_tokens: int,
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        """Complete every prompt.

        Args:
            policy: The model; its adapter in use is the one that answers.
            renderer: Knows the ids that end a turn.
            prompts: Token ids of the prompts.
            samples: Completions a prompt.
            max_new_tokens: Length limit of a completion, end of turn included.
            temperature: Divides the logits; 0 is greedy.

        Returns:
            `samples` completions for each prompt, in order. Samples are drawn from torch's global generator.
        """
