"""Attention of a decode step in plain torch: a group's queries meet their prompt's keys in one product."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the rows of a batch stand in a grid of groups × most rows of a group.

    Args:
        rows: Rows that belong to a group; those after them are idle.
        groups: (rows,) group of each row, ascending.
        slots: (rows,) place of each row within its group.
        shape: Groups, and most rows of a group.
    """

    rows: int
    groups: Tensor
    slots: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, counts: Tensor) -> Grid:
        """From the rows of each group, (groups,) int64 with none of them 0."""
        groups = torch.repeat_interleave(counts)
        starts = counts.cumsum(0) - counts
        slots = torch.arange(len(groups), device=counts.device) - starts[groups]
        return cls(len(groups), groups, slots, (len(counts), int(counts.max())))

    @property
    def regular(self) -> bool:
        """Whether all groups have equally many rows, so that the grid is a mere view."""
        return self.shape[0] * self.shape[1] == self.rows


def grouped_attention(
    query: Tensor,
    prompt_keys: Tensor,
    prompt_values: Tensor,
    prompt_bias: Tensor,
    keys: Tensor,
    values: Tensor,
    grid: Grid,
    scale: float,
) -> Tensor:
    """One token of every row attends to its group's prompt and to its own completion.

    Args:
        query: (rows, heads, head size); rows in the order of the groups, idle ones last.
        prompt_keys: (groups, key heads, prompt length, head size), padded on the right.
        prompt_values: As `prompt_keys`.
        prompt_bias: (groups, 1, 1, prompt length), 0 on tokens and minus infinity on padding.
        keys: (rows, key heads, tokens, head size), of the completions so far.
        values: As `keys`.
        grid: The rows' groups.
        scale: Multiplies the scores.

    Returns:
        (rows, heads, head size); 0 for idle rows.
    """
    groups, heads, width, size = prompt_keys.shape
    rows, repeat = grid.rows, query.shape[1] // heads
    own = (query[:rows] * scale).view(rows, heads, repeat, size)
    slots = grid.shape[1]

    def to_grid(values: Tensor) -> Tensor:
        """(rows, heads, repeat, n) to (groups, heads, slots × repeat, n)."""
        if grid.regular:
            spread = values.view(groups, slots, *values.shape[1:])
        else:
            spread = values.new_zeros(groups, slots, *values.shape[1:])
            spread[grid.groups, grid.slots] = values
        return spread.transpose(1, 2).reshape(groups, heads, slots * repeat, values.shape[-1])

    def from_grid(values: Tensor) -> Tensor:
        back = values.view(groups, heads, slots, repeat, values.shape[-1]).transpose(1, 2)
        if grid.regular:
            return back.reshape(rows, heads, repeat, values.shape[-1])
        return back[grid.groups, grid.slots]

    on_prompt = from_grid((to_grid(own) @ prompt_keys.transpose(2, 3)).float() + prompt_bias)
    on_own = (own @ keys[:rows].transpose(2, 3)).float()
    weights = torch.softmax(torch.cat([on_prompt, on_own], -1), -1).to(query.dtype)
    to_prompt, to_own = weights.split([width, keys.shape[2]], -1)
    seen = from_grid(to_grid(to_prompt) @ prompt_values) + to_own @ values[:rows]
    result = seen.reshape(rows, heads * repeat, size)
    idle = len(query) - rows
    return torch.cat([result, result.new_zeros(idle, *result.shape[1:])]) if idle else result
