"""Floating-point operations of a model with LoRA, by formula.

A token's forward pass takes 2 operations a weight of the layers' matrices and of the adapters; attention takes 4 ·
(heads · head_dim) a layer and pair of a query and a key that it sees; the head 2 · hidden · vocabulary where logits are
computed. The backward pass takes 2 a frozen weight (its input's gradient), 4 an adapter's weight, and 8 in place of
attention's 4. Recomputation, padding, norms and softmax are not counted, nor is the embedding, which is a look-up.
After Kaplan and others, Scaling Laws for Neural Language Models, 2020, with the weights' own gradients taken out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from qwen_lightning.models.policy import PolicyModel

Group = tuple[int, Sequence[int]]
"""Tokens of a prompt, and of each of its completions."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a pass computes: tokens, pairs of a query and a key that it sees, and positions with logits."""

    tokens: int = 0
    pairs: int = 0
    logits: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.pairs + other.pairs, self.logits + other.logits)

    @classmethod
    def rows(cls, groups: Iterable[Group]) -> Work:
        """One row a completion, each with its prompt."""
        return sum((cls.shared([(prompt, [size])]) for prompt, sizes in groups for size in sizes), Work())

    @classmethod
    def shared(cls, groups: Iterable[Group]) -> Work:
        """The prompt once a group; a completion sees its prompt and itself."""
        total = Work()
        for prompt, sizes in groups:
            pairs = _causal(prompt) + sum(size * prompt + _causal(size) for size in sizes)
            total += cls(prompt + sum(sizes), pairs, sum(sizes))
        return total


@dataclass(frozen=True, slots=True)
class ModelFlops:
    """The formula for one model.

    Args:
        layers: Weights of the layers' matrices.
        adapter: Weights of one adapter.
        attention: layers · heads · head_dim.
        head: hidden · vocabulary.
    """

    layers: int
    adapter: int
    attention: int
    head: int

    @classmethod
    def of(cls, policy: PolicyModel) -> ModelFlops:
        """Count a policy's weights; those in 4 bits by their features, since they are packed."""
        config = policy.backbone.config
        adapter = sum(parameter.numel() for parameter in policy.trainable())
        matrices = [
            module.in_features * module.out_features
            for name, module in policy.backbone.base_model.named_modules()
            if isinstance(module, nn.Linear) and ".lora_" not in name
        ]
        width = config.num_attention_heads * config.head_dim
        return cls(
            layers=sum(matrices),
            adapter=adapter,
            attention=config.num_hidden_layers * width,
            head=config.hidden_size * config.vocab_size,
        )

    def forward(self, work: Work) -> int:
        """Operations of a forward pass."""
        linear = 2 * (self.layers + self.adapter) * work.tokens
        return linear + 4 * self.attention * work.pairs + 2 * self.head * work.logits

    def training(self, work: Work) -> int:
        """Operations of a forward and a backward pass."""
        backward = (2 * self.layers + 4 * self.adapter) * work.tokens
        return self.forward(work) + backward + 8 * self.attention * work.pairs + 2 * self.head * work.logits


def _causal(tokens: int) -> int:
    return tokens * (tokens + 1) // 2
