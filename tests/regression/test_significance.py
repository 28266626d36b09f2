"""Paired tests against scipy, against enumeration, and in simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, permutation_test, ttest_1samp

from qwen_lightning.regression.significance import compare, holm, mean_interval, sign_flip_test


def by_id(values):
    return {str(i): float(value) for i, value in enumerate(values)}


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (3, 0), (16, 2), (45, 15), (5, 9)])
def test_one_evaluation_of_pass_and_fail_is_mcnemars_mid_p_test(worse, better):
    before = [1] * worse + [0] * better + [1] * 40
    after = [0] * worse + [1] * better + [1] * 40
    found = compare(by_id(before), [by_id(after)])
    trials = worse + better
    for got, flips in ((found.p_worse, worse), (found.p_better, better)):
        assert got == pytest.approx(binom.sf(flips, trials, 0.5) + binom.pmf(flips, trials, 0.5) / 2)
    assert found.change == pytest.approx((better - worse) / (trials + 40))
    assert found.worse == tuple(str(i) for i in range(worse))
    assert found.better == tuple(str(i) for i in range(worse, trials))


def test_pooled_evaluations_are_exact_too():
    """Against all sign patterns of a small table of three evaluations."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        gains = rng.integers(-3, 4, 9) / 3
        sums = np.array([np.dot(signs, np.abs(gains)) for signs in itertools.product((-1, 1), repeat=9)]) - gains.sum()
        assert sign_flip_test(gains, 3) == pytest.approx(np.mean(sums > 1e-9) + np.mean(np.abs(sums) < 1e-9) / 2)


def test_scores_agree_with_scipys_permutation_test():
    gains = np.random.default_rng(1).normal(0.12, 0.5, 60)
    expected = permutation_test(
        (gains,), np.mean, permutation_type="samples", alternative="greater", n_resamples=50_000, rng=0
    ).pvalue
    assert sign_flip_test(gains) == pytest.approx(expected, abs=0.006)
    assert sign_flip_test(gains) == sign_flip_test(gains), "the same scores give the same p-value"
    assert sign_flip_test(np.full(50, 0.3)) == pytest.approx(1 / 20_001)


def test_evaluations_that_agree_count_once_and_those_that_wobble_more():
    before = by_id([1] * 60)
    first = by_id([0] * 6 + [1] * 54)
    other = by_id([1] * 6 + [0] * 6 + [1] * 48)
    once = compare(before, [first])
    assert compare(before, [first, first]).p_worse == once.p_worse
    assert compare(before, [first, other]).p_worse < once.p_worse
    assert compare(before, [first, other]).after == pytest.approx(0.9)


def test_lower_is_better():
    found = compare(by_id([1.0, 2.0, 3.0]), [by_id([1.5, 2.75, 3.0])], higher_is_better=False)
    assert found.change == pytest.approx(1.25 / 3)
    assert found.worse == ("1", "0")
    assert found.p_worse < found.p_better


def test_only_common_examples_are_compared():
    found = compare({"a": 1.0, "b": 1.0, "c": 0.0}, [{"c": 1.0, "a": 0.0, "x": 0.0}, {"a": 0.0, "c": 1.0, "b": 0.0}])
    assert (found.examples, found.before, found.after) == (2, 0.5, 0.5)
    with pytest.raises(ValueError, match="no example in common"):
        compare({"a": 1.0}, [{"b": 1.0}])
    with pytest.raises(ValueError, match="no evaluation"):
        compare({"a": 1.0}, [])
    with pytest.raises(ValueError, match="not finite"):
        compare({"a": 1.0}, [{"a": math.nan}])


@pytest.mark.parametrize(("worse", "better"), [(0.0, 0.0), (0.01, 0.01), (0.055, 0.005), (0.15, 0.05)])
def test_the_interval_covers(worse, better):
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(1500):
        draws = rng.random(200)
        change = np.where(draws < worse, -1.0, np.where(draws < worse + better, 1.0, 0.0))
        low, high = mean_interval(change)
        covered += low <= better - worse <= high
    assert covered / 1500 > 0.93
    assert high > low


def test_the_interval_of_other_scores_is_students():
    change = np.random.default_rng(3).normal(0.2, 2.0, 30)
    expected = ttest_1samp(change, 0).confidence_interval(0.9)
    assert mean_interval(change, 0.9, unit=False) == pytest.approx((expected.low, expected.high))
    assert mean_interval(np.array([1.0]), unit=False) == (-math.inf, math.inf)


def test_holm():
    # The worked example of Holm's step-down procedure, in the order given.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
