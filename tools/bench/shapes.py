"""Model shapes, by name; the weights of a benchmark are random, so the shape is all that it needs of a model."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import Qwen3Config


@dataclass(frozen=True, slots=True)
class Shape:
    """A Qwen3's sizes. `spread` is the standard deviation of its random weights."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    spread: float = 0.02

    def config(self) -> Qwen3Config:
        """As transformers' configuration."""
        return Qwen3Config(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            head_dim=self.head_dim,
            max_position_embeddings=40960,
            tie_word_embeddings=self.tied,
            initializer_range=self.spread,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )


SHAPES = {
    "qwen3-8b": Shape(4096, 12288, 36, 32, 8, 128, 151936, tied=False),
    "qwen3-0.6b": Shape(1024, 3072, 28, 16, 8, 128, 151936, tied=True),
    "demo": Shape(128, 384, 4, 4, 2, 32, 1406, tied=True, spread=0.05),
    "tiny": Shape(64, 192, 2, 2, 1, 32, 512, tied=True, spread=0.05),
}
