"""Grouped attention against attention of each row by itself."""

from __future__ import annotations

import pytest
import torch

from qwen_lightning.rollout.grouped.attention import Grid, grouped_attention


@pytest.mark.parametrize("idle", [0, 2])
@pytest.mark.parametrize("counts", [[3, 3], [1], [1, 4, 2], [5, 1]])
@pytest.mark.parametrize("repeat", [1, 4])
def test_every_row_sees_its_prompt_and_itself(counts: list[int], repeat: int, idle: int) -> None:
    torch.manual_seed(0)
    heads, size, tokens = 2, 8, 4
    lengths = torch.tensor([5, 1, 3])[: len(counts)]
    rows = sum(counts)
    query = torch.randn(rows + idle, heads * repeat, size)
    prompt_keys, prompt_values = torch.randn(2, len(counts), heads, 5, size)
    keys, values = torch.randn(2, rows + idle + 1, heads, tokens, size)
    bias = torch.zeros(len(counts), 1, 1, 5).masked_fill(
        (torch.arange(5) >= lengths[:, None])[:, None, None], float("-inf")
    )
    grid = Grid.of(torch.tensor(counts))
    assert grid.regular == (len(set(counts)) == 1)
    found = grouped_attention(query, prompt_keys, prompt_values, bias, keys, values, grid, 0.3)
    assert found.shape == query.shape
    assert not found[rows:].any()
    for row in range(rows):
        group = int(grid.groups[row])
        for head in range(heads * repeat):
            shared = slice(None, int(lengths[group]))
            own_keys = torch.cat([prompt_keys[group, head // repeat, shared], keys[row, head // repeat]])
            own_values = torch.cat([prompt_values[group, head // repeat, shared], values[row, head // repeat]])
            weights = torch.softmax(0.3 * own_keys @ query[row, head], 0)
            torch.testing.assert_close(found[row, head], weights @ own_values)
