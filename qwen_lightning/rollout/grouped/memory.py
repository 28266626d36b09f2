"""Which completions are decoded together, and what memory is for keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qwen_lightning.rollout.grouped.cache import CacheShape
from qwen_lightning.rollout.grouped.decoder import Decoder
from qwen_lightning.rollout.grouped.session import PREFILL_TOKENS

#: Bytes that a plan leaves alone: memory pools of graphs, fragments.
MARGIN = 2**30


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
    lengths: Sequence[int],
    samples: Sequence[int],
    room: int,
    max_rows: int,
    max_tokens: int,
    round_to: int = 1,
    held: CacheShape | None = None,
) -> Iterator[Batch]:
    """Batches within the limits; prompts of like length share one, so that little is padded.

    The longest come first, and a batch stays within the buffers of the one before unless it could be more than twice
    as large: new buffers mean new graphs. A group stays whole unless it is beyond a limit by itself: then it comes in
    parts, of one row at least.

    Args:
        lengths: Tokens of each prompt.
        samples: Completions of each.
        room: Most tokens of a completion.
        max_rows: Completions a batch.
        max_tokens: Tokens whose keys and values a batch may hold.
        round_to: Prompt rooms are multiples of it: batches of like shape share buffers.
        held: Buffers that there are.
    """
    parts: list[tuple[int, int]] = []  # prompt, completions
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        most = max(1, min(samples[index], max_rows, (max_tokens - _rounded(lengths[index], round_to)) // room))
        parts += [(index, min(most, samples[index] - start)) for start in range(0, samples[index], most)]
    start = 0
    while start < len(parts):
        prompt_room = _rounded(lengths[parts[start][0]], round_to)

        def shape(end: int, first: int = start, prompt_room: int = prompt_room) -> CacheShape:
            return CacheShape(end - first, prompt_room, sum(count for _, count in parts[first:end]), room)

        end = within = start + 1
        while end < len(parts) and shape(end + 1).rows <= max_rows and shape(end + 1).tokens <= max_tokens:
            end += 1
        if held is not None and held.covers(shape(within)):
            while within < end and held.covers(shape(within + 1)):
                within += 1
            if 2 * shape(within).rows >= shape(end).rows:
                end = within
        if held is None or not held.covers(shape(end)):
            held = shape(end)
        yield Batch([index for index, _ in parts[start:end]], [count for _, count in parts[start:end]], shape(end))
        start = end


def _rounded(length: int, to: int) -> int:
    return -(-length // to) * to


def token_bytes(decoder: Decoder) -> int:
    """Memory of one token's keys and values."""
    return 2 * decoder.layers * decoder.key_heads * decoder.size * decoder.dtype.itemsize


def working_bytes(decoder: Decoder, rows: int) -> int:
    """Memory beside keys and values: the widest moments of a prefill, and of drawing from fp32 logits."""
    prefill = PREFILL_TOKENS * (4 * decoder.intermediate + 6 * decoder.hidden) * decoder.dtype.itemsize
    return prefill + (2 * decoder.dtype.itemsize + 4 * 4) * rows * decoder.embed.num_embeddings
