"""Nothing is lost on the way into batches, all devices take as many, and little is padding."""

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


def test_buckets_save_padding_on_every_device_and_share_the_work() -> None:
    plain = length_buckets(ORDER, LENGTHS, 8, 2, 1, seed=0, epoch=0)
    bucketed = length_buckets(ORDER, LENGTHS, 8, 2, 50, seed=0, epoch=0)
    for rank in range(2):
        assert padding([step[rank] for step in bucketed], LENGTHS) < 0.1
        assert padding([step[rank] for step in plain], LENGTHS) > 0.3
    widths = np.array([[LENGTHS[batch].max() for batch in step] for step in bucketed[:-1]])
    assert np.median(np.abs(widths[:, 0] - widths[:, 1]) / widths.max(axis=1)) < 0.05
    assert widths[0].max() == widths.max()


def test_a_window_of_one_keeps_the_steps_of_the_shuffled_order() -> None:
    order = np.arange(40)
    steps = length_buckets(order, LENGTHS, 4, 1, 1, seed=0, epoch=0)
    assert sorted(step[0] for step in steps) == [list(range(start, start + 4)) for start in range(0, 40, 4)]
