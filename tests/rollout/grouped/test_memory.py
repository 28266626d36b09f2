"""Which completions are decoded together."""

from __future__ import annotations

from itertools import pairwise

import pytest

from qwen_lightning.rollout.grouped.cache import CacheShape
from qwen_lightning.rollout.grouped.memory import Batch, plan_batches

LENGTHS = [30, 7, 100, 8, 55, 9, 31]
SAMPLES = [4, 4, 4, 1, 4, 6, 4]


@pytest.mark.parametrize("max_rows", [1, 4, 7, 1000])
@pytest.mark.parametrize("max_tokens", [1, 130, 400, 10**6])
@pytest.mark.parametrize("round_to", [1, 16])
def test_every_completion_once_within_the_limits(max_rows: int, max_tokens: int, round_to: int) -> None:
    batches = list(plan_batches(LENGTHS, SAMPLES, 20, max_rows, max_tokens, round_to))
    drawn = dict.fromkeys(range(len(LENGTHS)), 0)
    for batch in batches:
        for index, count in zip(batch.prompts, batch.counts, strict=True):
            drawn[index] += count
        shape = batch.shape
        assert (shape.groups, shape.rows, shape.room) == (len(batch.prompts), sum(batch.counts), 20)
        longest = max(LENGTHS[index] for index in batch.prompts)
        assert shape.prompt_room % round_to == 0
        assert longest <= shape.prompt_room < longest + round_to
        assert shape.rows <= max_rows
        assert shape.tokens <= max_tokens or shape.rows == 1  # one row is as little as can be
    assert all(one.shape.prompt_room >= other.shape.prompt_room for one, other in pairwise(batches))
    assert [drawn[index] for index in range(len(LENGTHS))] == SAMPLES


def test_groups_stay_whole_where_they_fit() -> None:
    assert list(plan_batches([10, 20], [4, 4], 5, 8, 80)) == [Batch([1, 0], [4, 4], CacheShape(2, 20, 8, 5))]
    assert [batch.counts for batch in plan_batches([10, 20], [4, 4], 5, 7, 80)] == [[4], [4]]
    assert [batch.counts for batch in plan_batches([10, 20], [4, 4], 5, 8, 79)] == [[4], [4]]
    assert [batch.counts for batch in plan_batches([20], [5], 5, 8, 30)] == [[2], [2], [1]]


def test_a_cache_serves_for_smaller_shapes() -> None:
    large, other = CacheShape(4, 64, 32, 20), CacheShape(8, 32, 16, 20)
    assert large.tokens == 4 * 64 + 32 * 20
    assert large.covers(CacheShape(1, 64, 32, 1))
    assert not large.covers(other)
    assert large.union(other) == CacheShape(8, 64, 32, 20)
    assert large.union(other).covers(large)
