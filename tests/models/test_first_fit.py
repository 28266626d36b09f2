"""Rows hold every sequence once, keep the budget, and are few and of few lengths."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_lightning.models.attention import flex_capacity, flex_length
from qwen_lightning.models.first_fit import first_fit, flex_rows, least_capacity

LENGTHS = sorted(np.random.default_rng(0).integers(10, 2000, size=60).tolist(), reverse=True)


def test_a_sequence_goes_where_there_is_room_first() -> None:
    assert first_fit([6, 5, 4, 3, 1, 12], 10) == [[0, 2], [1, 3, 4], [5]]
    assert first_fit([], 10) == []


def test_the_smallest_capacity_that_makes_no_more_packs() -> None:
    assert least_capacity(lambda capacity: len(first_fit([5, 5, 5, 5], capacity)), 5, 100, 2) == 10
    assert least_capacity(lambda capacity: len(first_fit([5, 5, 5, 5], capacity)), 5, 8, 2) == 8


@pytest.mark.parametrize("budget", [1, 400, 2048, 5000, 16384, 10**6])
def test_rows_are_few_and_none_is_nearly_empty(budget: int) -> None:
    rows = flex_rows(LENGTHS, budget)
    assert sorted(index for row in rows for index in row) == list(range(len(LENGTHS)))
    sizes = [sum(LENGTHS[index] for index in row) for row in rows]
    capacity = flex_capacity(budget)
    assert all(size <= capacity or len(row) == 1 for size, row in zip(sizes, rows, strict=True))
    assert len(rows) == len(first_fit(LENGTHS, capacity))
    assert len(flex_rows(LENGTHS, budget, len(rows) + 1)) <= len(rows) + 1


def test_filled_to_a_length_they_take_fewer_tokens_and_lengths() -> None:
    generator = np.random.default_rng(1)
    seen: dict[str, set[int]] = {"even": set(), "filled": set()}
    tokens = {"even": 0, "filled": 0}
    for _ in range(100):
        lengths = sorted(np.clip(generator.lognormal(6.3, 0.7, 32).astype(int), 20, 4096).tolist(), reverse=True)
        for name, rows in (("even", flex_rows(lengths, 16384)), ("filled", first_fit(lengths, 16384))):
            computed = [flex_length(sum(lengths[index] for index in row)) for row in rows]
            seen[name] |= set(computed)
            tokens[name] += sum(computed)
    assert tokens["even"] <= 1.01 * tokens["filled"]
    assert 2 * len(seen["even"]) < 1.5 * len(seen["filled"])


def test_ranks_can_ask_for_more() -> None:
    lengths = [128] * 9
    assert [len(row) for row in flex_rows(lengths, 512)] == [4, 4, 1]
    assert [len(row) for row in flex_rows(lengths, 512, at_least=9)] == [1] * 9
    assert len(flex_rows(lengths, 512, at_least=100)) == 9
    assert flex_rows([], 512, at_least=3) == []
