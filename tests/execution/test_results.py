"""Results as far as their limits allow."""

from __future__ import annotations

import pytest

from qwen_lightning.execution.base import Limits
from qwen_lightning.execution.results import take


@pytest.mark.parametrize(
    ("lengths", "asked"),
    [
        ([10] * 1500, [1, 2, 4, 8, 16, 32, 64, 128, 256, 500, 500]),
        ([1_000_000] * 10, [1, 1, 1]),
        ([10] * 7 + [100_000] * 30, [1, 2, 4, 8, 2, 2, 2]),
        ([500_000] + [10] * 3000, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 500, 500]),
    ],
)
def test_no_more_is_fetched_at_once_than_is_wanted(lengths: list[int], asked: list[int]) -> None:
    left, found = iter(lengths), []

    def fetch(count: int) -> list[tuple[str]]:
        found.append(count)
        return [("x" * length,) for _, length in zip(range(count), left, strict=False)]

    rows, cut = take(fetch, Limits(10_000, 2_000_000))
    assert found[: len(asked)] == asked
    assert bool(cut) == (sum(lengths) > 2_000_000)
    assert [len(text) for (text,) in rows] == lengths[: len(rows)]
