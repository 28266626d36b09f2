"""The rollout engines that are compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from qwen_lightning.rollout.base import RolloutEngine
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.rollout.grouped import GroupedRollout
from tools.bench.shapes import Shape

GENERATE = "generate"
GENERATE_GIB = 32  # keys and values of generate's batch, at most
ENGINES = (GENERATE, "grouped-resident", "grouped-merged")  # the baseline first


def rollout_engines(shape: Shape, dtype: torch.dtype, sequence_tokens: int) -> dict[str, Callable[[], RolloutEngine]]:
    """Name to a function that builds the engine; the baseline first.

    `grouped-resident` decodes with the weights as they lie in memory and the adapter beside them, `grouped-merged` with
    a copy in the model's dtype that has the adapter in it.
    """
    resident, merged = partial(GroupedRollout, weights="nf4"), partial(GroupedRollout, weights="bf16")
    builders = (partial(generate_engine, shape, dtype, sequence_tokens), resident, merged)
    return dict(zip(ENGINES, builders, strict=True))


def generate_engine(shape: Shape, dtype: torch.dtype, sequence_tokens: int) -> GenerateRollout:
    """`generate` with as many sequences at once as fit by their keys and values: a step costs much the same for all."""
    bytes_a_token = 2 * shape.layers * shape.key_heads * shape.head_dim * dtype.itemsize
    fitting = max(1, int(GENERATE_GIB * 2**30 // (bytes_a_token * sequence_tokens)))
    return GenerateRollout(fitting, fitting * sequence_tokens)
