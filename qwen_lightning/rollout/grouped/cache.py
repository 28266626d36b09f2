"""Keys and values of a decoding: a prompt's held once a group, a completion's once a row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qwen_lightning.rollout.grouped.attention import Grid


@dataclass(frozen=True, slots=True)
class CacheShape:
    """How much a cache holds.

    Args:
        groups: Prompts.
        prompt_room: Tokens of a prompt.
        rows: Completions decoded at once.
        room: Tokens of a completion.
    """

    groups: int
    prompt_room: int
    rows: int
    room: int

    @property
    def tokens(self) -> int:
        """Tokens whose keys and values are held."""
        return self.groups * self.prompt_room + self.rows * self.room

    def union(self, other: CacheShape) -> CacheShape:
        """The smallest shape that covers both."""
        return CacheShape(
            max(self.groups, other.groups),
            max(self.prompt_room, other.prompt_room),
            max(self.rows, other.rows),
            max(self.room, other.room),
        )

    def covers(self, other: CacheShape) -> bool:
        """Whether a cache of this shape serves for another."""
        return self.union(other) == self


class GroupedCache:
    """Static buffers, so that a captured graph finds them where they were.

    Rows stand in the order of their groups; rows after the last group's are idle. All rows have decoded equally many
    tokens.

    Args:
        shape: What fits in.
        layers: Decoder layers.
        key_heads: Heads of keys and values.
        size: Head size.
        dtype: Of keys and values.
        device: Where they lie.
    """

    def __init__(
        self, shape: CacheShape, layers: int, key_heads: int, size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shape = shape

        def buffers(count: int, room: int) -> list[Tensor]:
            # Zeros: what was never written is masked, but masked NaN would still spoil a product.
            return [torch.zeros(count, key_heads, room, size, dtype=dtype, device=device) for _ in range(layers)]

        self.prompt_keys, self.prompt_values = (buffers(shape.groups, shape.prompt_room) for _ in range(2))
        self.keys, self.values = (buffers(shape.rows, shape.room) for _ in range(2))
        self.prompt_lengths = torch.zeros(shape.groups, dtype=torch.int32, device=device)
        self.starts = torch.zeros(shape.groups + 1, dtype=torch.int32, device=device)
        self.row_lengths = torch.zeros(shape.rows, dtype=torch.long, device=device)  # of each row's prompt
        self.decoded = torch.zeros(1, dtype=torch.int32, device=device)  # own tokens that are kept
        self.place = torch.zeros(1, dtype=torch.long, device=device)  # the same, as an index
        # What plain torch attends by; a kernel reads the buffers above.
        self.steps = 0
        self.grid = Grid.of(torch.ones(1, dtype=torch.long))
        self.prompt_bias = torch.empty(0)

    def begin(self, prompt_lengths: Tensor, counts: Tensor) -> None:
        """Take up groups of `counts` rows whose prompts, of these lengths, have been written.

        Args:
            prompt_lengths: (groups,) int64.
            counts: (groups,) int64, at least 1.
        """
        self.prompt_lengths[: len(prompt_lengths)] = prompt_lengths
        self.decoded.zero_()
        self.place.zero_()
        self.steps = 0
        self._group(counts)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Keep the step's keys and values, (rows, key heads, head size), before the next token is counted."""
        self.keys[layer][: len(keys)].index_copy_(2, self.place, keys[:, :, None])
        self.values[layer][: len(values)].index_copy_(2, self.place, values[:, :, None])

    def advance(self) -> None:
        """Count the token that was written to all layers."""
        self.decoded += 1
        self.place += 1

    def keep(self, rows: Tensor) -> None:
        """Go on with some rows, and with the groups that they belong to.

        Args:
            rows: (kept,) int64, ascending.
        """
        kept, counts = torch.unique_consecutive(self.grid.groups[rows], return_counts=True)
        if len(kept) < self.grid.shape[0]:
            for buffers in (self.prompt_keys, self.prompt_values):
                for buffer in buffers:
                    buffer[: len(kept)] = buffer[kept]
            self.prompt_lengths[: len(kept)] = self.prompt_lengths[kept]
        for buffers in (self.keys, self.values):
            for buffer in buffers:
                buffer[: len(rows)] = buffer[rows]
        self._group(counts)

    def _group(self, counts: Tensor) -> None:
        groups = len(counts)
        lengths = self.prompt_lengths[:groups]
        self.grid = Grid.of(counts)
        self.starts[1 : groups + 1] = counts.cumsum(0)
        self.starts[groups + 1 :] = self.grid.rows
        self.row_lengths.zero_()
        self.row_lengths[: self.grid.rows] = lengths.long()[self.grid.groups]
        width = torch.arange(int(lengths.max()), device=lengths.device)
        self.prompt_bias = torch.zeros(groups, 1, 1, len(width), device=lengths.device)
        self.prompt_bias.masked_fill_((width >= lengths[:, None])[:, None, None], float("-inf"))
