"""Epochs hold the ratios exactly, whatever the sizes of the sets."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from qwen_lightning.data.mixture import DEFAULT_RATIOS, Mixture, apportion, draw
from qwen_lightning.errors import ConfigError

SIZES = {"intent_rewrite": 700, "slot_json": 90, "function_call": 60, "text2sql": 31, "text2cypher": 7, "general": 2}


def tasks_of(sizes: dict[str, int]) -> list[str]:
    return [name for name, size in sizes.items() for _ in range(size)]


def hamilton(shares: dict[str, Fraction], total: int) -> dict[str, int]:
    """Largest remainder with exact fractions, seat by seat."""
    whole = sum(shares.values())
    exact = {name: share / whole * total for name, share in shares.items()}
    seats = {name: int(value) for name, value in exact.items()}
    while sum(seats.values()) < total:
        seats[max(exact, key=lambda name: exact[name] - seats[name])] += 1
    return seats


@pytest.mark.parametrize("total", [0, 1, 2, 7, 99, 100, 101, 1234, 1_000_003])
def test_apportionment_agrees_with_exact_fractions(total: int) -> None:
    shares = {name: Fraction(str(ratio)) for name, ratio in DEFAULT_RATIOS.items()}
    assert apportion(DEFAULT_RATIOS, total) == hamilton(shares, total)


@pytest.mark.parametrize(("size", "quota"), [(10, 3), (10, 10), (10, 25), (3, 100), (1, 5), (7, 6)])
def test_every_record_comes_floor_or_ceil_times_an_epoch_and_over_all_epochs(size: int, quota: int) -> None:
    total: Counter[int] = Counter()
    for epoch in range(9):
        drawn = Counter(draw(size, quota, epoch, 0, "set").tolist())
        assert sum(drawn.values()) == quota
        assert {drawn[i] for i in range(size)} <= {quota // size, -(-quota // size)}
        total += drawn
    assert {total[i] for i in range(size)} <= {9 * quota // size, -(-9 * quota // size)}


def test_a_pass_through_a_small_set_has_an_order_of_its_own() -> None:
    passes = draw(50, 150, 0, 0, "set").reshape(3, 50)
    later = draw(50, 50, 1, 0, "set")
    assert len({tuple(order) for order in [*passes.tolist(), later.tolist()]}) == 4


def test_default_ratios_are_exact_in_every_epoch() -> None:
    tasks = tasks_of(SIZES)
    mixture = Mixture(tasks, epoch_size=1000, seed=3)
    expected = dict(zip(SIZES, (320, 250, 200, 120, 80, 30), strict=True))
    assert mixture.counts == expected
    for epoch in range(3):
        assert Counter(tasks[i] for i in mixture.epoch(epoch)) == expected
    assert mixture.warnings == []


def test_an_epoch_has_as_many_examples_as_there_are_records() -> None:
    mixture = Mixture(tasks_of(SIZES))
    assert mixture.size == len(mixture.epoch(0)) == sum(SIZES.values())


def test_the_seed_alone_decides() -> None:
    tasks = tasks_of(SIZES)
    first, again, other = (Mixture(tasks, seed=seed).epoch(2) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, Mixture(tasks, seed=1).epoch(3))


def test_shares_of_absent_tasks_go_to_the_others_and_that_is_said() -> None:
    mixture = Mixture(tasks_of({"text2sql": 10, "text2cypher": 10}), epoch_size=100)
    assert mixture.counts == {"text2sql": 60, "text2cypher": 40}
    assert len(mixture.warnings) == 1
    assert "no records for intent_rewrite, slot_json, function_call, general" in mixture.warnings[0]
    assert "text2sql 0.600" in mixture.warnings[0]


def test_a_ratio_outside_the_advised_range_is_a_warning() -> None:
    ratios = DEFAULT_RATIOS | {"intent_rewrite": 0.26, "general": 0.09}
    (warning,) = Mixture(tasks_of(SIZES), ratios, epoch_size=100).warnings
    assert "general 0.090 (advised 0.01 to 0.05)" in warning
    assert "intent_rewrite" not in warning


def test_the_ends_of_the_ranges_are_inside() -> None:
    ratios = dict(zip(SIZES, (0.25, 0.30, 0.25, 0.10, 0.05, 0.05), strict=True))
    assert Mixture(tasks_of(SIZES), ratios, epoch_size=100).warnings == []


def test_a_task_that_an_epoch_has_no_room_for_is_named() -> None:
    warnings = Mixture(tasks_of(SIZES), epoch_size=10).warnings
    assert any("an epoch of 10 examples takes none of general" in warning for warning in warnings)


def test_a_task_of_ones_own_takes_part_by_its_ratio() -> None:
    tasks = tasks_of({"text2sql": 5, "summary": 5})
    assert Mixture(tasks, {"text2sql": 3, "summary": 1}, epoch_size=8).counts == {"text2sql": 6, "summary": 2}


def test_persona_alone_needs_no_ratio_and_no_warning() -> None:
    mixture = Mixture(["persona"] * 4)
    assert mixture.counts == {"persona": 4}
    assert mixture.warnings == []
    assert Mixture(["persona"] * 4, {"persona": 1.0}).warnings == []


@pytest.mark.parametrize(
    ("tasks", "ratios", "epoch_size", "message"),
    [
        ([], None, None, "no records"),
        (["text2sql", "summary"], None, None, "task summary has 1 records and no ratio"),
        (["text2sql"], {"text2sql": -0.1}, None, "ratio of text2sql is -0.1"),
        (["text2sql"], {"text2sql": float("nan")}, None, "ratio of text2sql is nan"),
        (["text2sql"], {"text2sql": 0.0, "general": 1.0}, None, "are 0"),
        (["text2sql"], None, 0, "epoch_size is 0"),
    ],
)
def test_a_mixture_that_cannot_be_meant_is_refused(
    tasks: list[str], ratios: dict[str, float] | None, epoch_size: int | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Mixture(tasks, ratios, epoch_size)
