"""Training and regression data share no question."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.data.overlap import identity, refuse_overlap
from qwen_lightning.errors import DataError
from qwen_lightning.records import Located, RecordReader

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "fixtures" / "data" / "overlap.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_identity(case: dict[str, Any]) -> None:
    a, b = (RecordReader().parse({"id": name, **case[name]}) for name in "ab")
    assert (identity(a) == identity(b)) is case["same"]


def test_pairs_are_named_by_file_and_line(
    located: Callable[..., list[Located]], make: Callable[..., dict[str, Any]]
) -> None:
    trained = located("sft", [make("general", i) for i in range(3)])
    held_out = located("general_regression", [make("general", 7), make("general", 1, id="x", gold="else")])
    with pytest.raises(
        DataError, match=r"overlap in 1 pair of records: \S+/sft\.jsonl:2 = \S+/general_regression\.jsonl:2;"
    ):
        refuse_overlap(trained, held_out)
    refuse_overlap(trained, held_out[:1])


def test_ten_pairs_are_named_and_all_are_counted(
    located: Callable[..., list[Located]], make: Callable[..., dict[str, Any]]
) -> None:
    records = [make("text2sql", i) for i in range(12)]
    with pytest.raises(DataError) as caught:
        refuse_overlap(located("grpo", records), located("task_regression", records))
    message = str(caught.value)
    assert "overlap in 12 pairs" in message
    assert "; and 2 more;" in message
    assert message.count(" = ") == 10
    assert "\n" not in message
