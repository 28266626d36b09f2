"""Which completions are decoded together, and what memory is for keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qwen_lightning.rollout.grouped.cache import CacheShape
from qwen_lightning.rollout.grouped.decoder import Decoder
from qwen_lightning.rollout.grouped.session import PREFILL_TOKENS


@dataclass(frozen=True, slots=True)
class Batch:
    """Prompts that are decoded together.

    Args:
        prompts: Their indices.
        counts: Completions of each.
        shape: What the cache must hold.
    """

    prompts: list[int]
    counts: list[int]
    shape: CacheShape


def plan_batches(
    lengths: Sequence[int], samples: Sequence[int], room: int, max_rows: int, max_tokens: int, round_to: int = 1
) -> Iterator[Batch]:
    """Batches within the limits; prompts of like length share one, so that little is padded.

    The longest come first: the buffers that they need serve for the others. A group stays whole unless it is beyond a
    limit by itself: then it comes in parts, of one row at least.

    Args:
        lengths: Tokens of each prompt.
        samples: Completions of each.
        room: Most tokens of a completion.
        max_rows: Completions a batch.
        max_tokens: Tokens whose keys and values a batch may hold.
        round_to: Prompt rooms are multiples of it: batches of like shape share buffers.
    """
    prompts: list[int] = []
    counts: list[int] = []
    shape = CacheShape(0, 0, 0, room)
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        prompt_room = -(-lengths[index] // round_to) * round_to
        part = max(1, min(samples[index], max_rows, (max_tokens - prompt_room) // room))
        for start in range(0, samples[index], part):
            count = min(part, samples[index] - start)
            grown = CacheShape(len(prompts) + 1, max(shape.prompt_room, prompt_room), shape.rows + count, room)
            if prompts and (grown.rows > max_rows or grown.tokens > max_tokens):
                yield Batch(prompts, counts, shape)
                prompts, counts = [], []
                grown = CacheShape(1, prompt_room, count, room)
            prompts, counts, shape = [*prompts, index], [*counts, count], grown
    if prompts:
        yield Batch(prompts, counts, shape)


def token_bytes(decoder: Decoder) -> int:
    """Memory of one token's keys and values."""
    return 2 * decoder.layers * decoder.key_heads * decoder.size * decoder.dtype.itemsize


def working_bytes(decoder: Decoder, rows: int) -> int:
    """Memory beside keys and values: the widest moments of a prefill, and of sampling in fp32."""
    prefill = PREFILL_TOKENS * (4 * decoder.intermediate + 6 * decoder.hidden) * decoder.dtype.itemsize
    return prefill + 4 * 4 * rows * decoder.embed.num_embeddings
