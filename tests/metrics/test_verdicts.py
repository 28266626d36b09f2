"""Verdict metrics against sums by hand; two processes are in test_step."""

import doctest

import pytest
import torch

from qwen_lightning.metrics import step, verdicts
from qwen_lightning.metrics.verdicts import VerdictMetrics
from qwen_lightning.regression.scores import ScoreRow, summarize


def make_rows():
    generator = torch.Generator().manual_seed(0)
    rows = []
    for i in range(200):
        draw = torch.rand(3, generator=generator).tolist()
        checks = {"executes": draw[0]} | ({"match": float(draw[1] > 0.5)} if draw[2] > 0.3 else {})
        rows.append(ScoreRow(str(i), "text2sql" if i % 3 else "text2cypher", draw[1] if i % 5 else None, checks))
    return rows


def test_agrees_with_the_summary_of_all_rows():
    rows, metrics = make_rows(), VerdictMetrics()
    for start in range(0, len(rows), 7):
        metrics.update(rows[start : start + 7])
    got = metrics.compute()
    assert {name: value.item() for name, value in got.items()} == pytest.approx(summarize(rows))
    assert list(got) == sorted(got)


def test_reset_forgets():
    metrics = VerdictMetrics()
    metrics.update(make_rows())
    metrics.reset()
    metrics.update([])
    assert metrics.compute() == {}


def test_a_name_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="longer than 128 bytes"):
        VerdictMetrics().update([ScoreRow("1", "t", None, {"x" * 200: 1.0})])


@pytest.mark.parametrize("module", [step, verdicts], ids=["step", "verdicts"])
def test_the_examples_in_the_docstrings_hold(module):
    failures, tried = doctest.testmod(module)
    assert failures == 0
    assert tried > 0
