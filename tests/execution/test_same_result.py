"""Which results count as the same."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

from qwen_lightning.execution.same_result import same_result

MIDNIGHT = datetime.datetime(2023, 5, 1)
EARLY = datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=18)))


@pytest.mark.parametrize(
    ("gold", "other"),
    [
        ([(1, "a"), (2, "b")], [(2, "b"), (1, "a")]),
        ([(1, "a"), (2, "b")], [("b", 2), ("a", 1)]),
        ([(1,)], [(1.0,)]),
        ([(Decimal("0.10"),)], [(0.1,)]),
        ([(1 / 3,)], [(0.33333334,)]),
        ([(1e12,)], [(1e12 + 1,)]),
        ([(None, 1)], [(1, None)]),
        ([(datetime.date(2023, 5, 1),)], [(MIDNIGHT,)]),
        ([(MIDNIGHT.replace(tzinfo=datetime.UTC),)], [(MIDNIGHT,)]),
        ([(EARLY,)], [(EARLY,)]),
        ([(float("nan"),)], [(float("nan"),)]),
        ([([1, 2.0],)], [([1.0, 2],)]),
        ([], []),
        ([(i % 7, i % 3, i % 2) for i in range(300)], [(i % 2, i % 7, i % 3) for i in reversed(range(300))]),
        ([(0.99999995,), (2.0,)], [(1.00000005,), (2.0,)]),
    ],
)
def test_same(gold: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> None:
    assert same_result(gold, other)
    assert same_result(other, gold)


@pytest.mark.parametrize(
    ("gold", "other"),
    [
        ([(1,)], [(1,), (1,)]),
        ([(1, 2)], [(1,)]),
        ([(1,)], [(True,)]),
        ([(1,)], [("1",)]),
        ([(1.0,)], [(1.00001,)]),
        ([(0,)], [(None,)]),
        ([("",)], [(None,)]),
        ([("a",)], [("A",)]),
        ([(1, 2), (2, 1)], [(1, 2), (1, 2)]),
        ([(1, "a"), (2, "b")], [("a", 2), ("b", 1)]),
        ([(datetime.date(2023, 5, 1),)], [("2023-05-01",)]),
        ([(1,)], []),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)]),
    ],
)
def test_different(gold: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> None:
    assert not same_result(gold, other)
    assert not same_result(other, gold)


def test_order_counts_where_the_gold_orders_and_ties_are_free() -> None:
    gold = [("a",), ("b",), ("c",)]
    ties = [1, 1, 2]
    assert same_result(gold, [("b",), ("a",), ("c",)], ties)
    assert not same_result(gold, [("a",), ("c",), ("b",)], ties)


def test_rows_that_tie_beyond_a_limit_may_stand_in() -> None:
    gold, ties = [("a",), ("b",)], [2, 1]
    spare = {1: [("b",), ("c",)]}
    assert same_result(gold, [("a",), ("c",)], ties, spare)
    assert not same_result(gold, [("a",), ("d",)], ties, spare)
    assert not same_result(gold, [("c",), ("a",)], ties, spare)
