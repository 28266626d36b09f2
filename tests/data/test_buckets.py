"""Nothing is lost on the way into batches, and all devices take as many."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from qwen_lightning.data.buckets import batch_count, length_buckets

LENGTHS = np.random.default_rng(0).integers(10, 2000, size=1000)
ORDER = np.random.default_rng(1).permutation(1000)


def padding(batches: list[list[int]], lengths: np.ndarray) -> float:
    cells = sum(len(batch) * lengths[batch].max() for batch in batches)
    return 1 - sum(lengths[batch].sum() for batch in batches) / cells


@pytest.mark.parametrize("window", [1, 3, 1000])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("examples", "batch_size"), [(1, 4), (5, 1), (48, 4), (50, 4), (97, 8)])
def test_every_example_is_in_one_batch_and_all_devices_have_as_many(
    examples: int, batch_size: int, world_size: int, window: int
) -> None:
    order = ORDER[:examples]
    steps = length_buckets(order, LENGTHS, batch_size, world_size, window, seed=0, epoch=0)
    assert len(steps) == batch_count(examples, batch_size, world_size)
    assert all(len(step) == world_size and all(1 <= len(batch) <= batch_size for batch in step) for step in steps)
    assert all(list(LENGTHS[batch]) == sorted(LENGTHS[batch], reverse=True) for step in steps for batch in step)
    seen = Counter(i for step in steps for batch in step for i in batch)
    assert set(seen) == set(order.tolist())
    repeats = sum(seen.values()) - examples
    left = examples % (batch_size * world_size)
    assert repeats == (world_size - left if 0 < left < world_size else 0)


def test_a_repeated_record_stays_as_often_as_it_was_drawn() -> None:
    order = np.array([1, 1, 1, 2, 2, 3])
    steps = length_buckets(order, LENGTHS, 2, 1, 10, seed=0, epoch=0)
    assert Counter(i for step in steps for i in step[0]) == {1: 3, 2: 2, 3: 1}


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first, again = (length_buckets(ORDER, LENGTHS, 8, 1, 20, seed=1, epoch=2) for _ in range(2))
    assert first == again
    assert first != length_buckets(ORDER, LENGTHS, 8, 1, 20, seed=1, epoch=3)
    assert first != length_buckets(ORDER, LENGTHS, 8, 1, 20, seed=2, epoch=2)


def test_a_step_is_a_random_draw_dealt_evenly_and_the_longest_comes_first() -> None:
    steps = length_buckets(ORDER[:992], LENGTHS, 8, 2, 1, seed=0, epoch=0)
    drawn = {frozenset(ORDER[start : start + 16].tolist()) for start in range(0, 992, 16)}
    assert {frozenset([*first, *second]) for first, second in steps} == drawn
    for step in steps:
        first, second = (LENGTHS[batch] for batch in step)
        assert all(np.diff(first) <= 0)
        # Dealt in turn: the n-th of one device is between the n-th and the next of the other.
        assert all(first >= second)
        assert all(second[:-1] >= first[1:])
    assert LENGTHS[steps[0][0][0]] == LENGTHS[ORDER[:992]].max()


def test_sorting_many_steps_together_saves_padding() -> None:
    by_window = [
        [step[0] for step in length_buckets(ORDER, LENGTHS, 8, 1, window, seed=0, epoch=0)] for window in (1, 50)
    ]
    assert padding(by_window[0], LENGTHS) > 0.3
    assert padding(by_window[1], LENGTHS) < 0.1
