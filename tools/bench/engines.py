"""The rollout engines that are compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qwen_lightning.rollout.base import RolloutEngine
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.rollout.grouped import GroupedRollout
from tools.bench.options import Options

GENERATE = "generate"
ENGINES = (GENERATE, "grouped-resident", "grouped-merged")  # the baseline first


def rollout_engines(options: Options, sequence_tokens: int) -> dict[str, Callable[[], RolloutEngine]]:
    """Name to a function that builds the engine; the baseline first.

    `grouped-resident` decodes with the weights as they lie in memory and the adapter beside them, `grouped-merged` with
    a copy in the model's dtype that has the adapter in it.
    """
    resident, merged = partial(GroupedRollout, weights="nf4"), partial(GroupedRollout, weights="bf16")
    return dict(zip(ENGINES, (partial(generate_engine, options, sequence_tokens), resident, merged), strict=True))


def generate_engine(options: Options, sequence_tokens: int) -> GenerateRollout:
    """`generate` with as many sequences at once as fit by their keys and values: a step costs much the same for all."""
    shape = options.sizes
    bytes_a_token = 2 * shape.layers * shape.key_heads * shape.head_dim * options.torch_dtype.itemsize
    fitting = max(1, int(options.cache_bytes // (bytes_a_token * sequence_tokens)))
    return GenerateRollout(fitting, fitting * sequence_tokens)
