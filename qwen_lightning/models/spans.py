"""What a token sees in a row that holds several prompts, completions or documents: two spans of keys."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True, slots=True)
class Spans:
    """Token q of a row sees the keys [prefix_start[q], prefix_end[q]) and [start[q], q], which do not overlap.

    A prompt token has an empty prefix, and `start` at its prompt's first token; a completion token has its prompt as
    prefix, and `start` at its completion's first; a document is a prompt without completions. Padding has an empty
    prefix and itself as `start`: softmax needs one key.

    Args:
        prefix_start: (rows, length) int64 positions within the row.
        prefix_end: (rows, length) int64.
        start: (rows, length) int64.

    Raises:
        ValueError: Shapes that differ.
    """

    prefix_start: Tensor
    prefix_end: Tensor
    start: Tensor

    def __post_init__(self) -> None:
        shapes = [tuple(part.shape) for part in (self.prefix_start, self.prefix_end, self.start)]
        if len(shapes[0]) != 2 or len(set(shapes)) > 1:
            raise ValueError(f"spans are {', '.join(map(str, shapes))}; expected (rows, length), three times")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, length)."""
        rows, length = self.start.shape
        return rows, length

    def to(self, device: torch.device | str) -> Spans:
        """The same on another device."""
        return Spans(self.prefix_start.to(device), self.prefix_end.to(device), self.start.to(device))

    def dense(self) -> Tensor:
        """(rows, 1, length, length) bool, True where a query sees a key. Quadratic: for short rows."""
        key = torch.arange(self.start.shape[1], device=self.start.device)
        query = key[:, None]
        prefix = (key >= self.prefix_start[..., None]) & (key < self.prefix_end[..., None])
        own = (key >= self.start[..., None]) & (key <= query)
        return (prefix | own)[:, None]

    def block_mask(self, block_size: int = 128) -> BlockMask:
        """The mask as FlexAttention takes it, one for all heads.

        The visible keys of each (query block, key block) are counted from the spans: a block with none is left out, one
        with all of them is computed without a mask. Memory is length² / block_size, and nothing is compiled.

        Args:
            block_size: Queries, and keys, of a block.
        """
        prefix_start, prefix_end, start = (part.int() for part in (self.prefix_start, self.prefix_end, self.start))
        length = start.shape[1]
        blocks = -(-length // block_size)
        first = torch.arange(blocks, device=start.device, dtype=torch.int32) * block_size
        query = torch.arange(length, device=start.device, dtype=torch.int32)

        def keys_within(begin: Tensor, end: Tensor) -> Tensor:
            """(rows, length, blocks): how many of [begin, end) lie in each block of keys."""
            overlap = torch.minimum(end[..., None], first + block_size) - torch.maximum(begin[..., None], first)
            return overlap.clamp_(min=0)

        visible = keys_within(prefix_start, prefix_end) + keys_within(start, (query + 1).expand_as(start))
        # Queries beyond the length see nothing, so that the last block is never taken for a full one.
        visible = torch.nn.functional.pad(visible, (0, 0, 0, blocks * block_size - length))
        counts = visible.unflatten(1, (blocks, block_size)).sum(2)
        full = counts == block_size * block_size

        def visible_pair(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            prefix = (key >= prefix_start[row, query]) & (key < prefix_end[row, query])
            return prefix | ((key >= start[row, query]) & (key <= query))

        return BlockMask.from_kv_blocks(
            *_ordered((counts > 0) & ~full),
            *_ordered(full),
            BLOCK_SIZE=block_size,
            mask_mod=visible_pair,
            seq_lengths=(length, length),
        )


def _ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, 1, blocks) counts and (rows, 1, blocks, blocks) indices of the True key blocks of each query block."""
    indices = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[:, None], indices.int()[:, None].contiguous()
