"""Which values are the same, and which a text gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.tasks.slot_values import canonical, passage

ROWS = (Path(__file__).parents[1] / "fixtures" / "slots" / "same.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("row", [json.loads(line) for line in ROWS], ids=lambda row: str(row["value"]))
def test_same(row: dict[str, Any]) -> None:
    for value in row["same"]:
        assert canonical(value) == canonical(row["value"]), value
    for value in row["other"]:
        assert canonical(value) != canonical(row["value"]), value


@pytest.mark.parametrize(
    ("text", "gives", "lacks"),
    [
        ("去三里屯第一百货，二人", ["三里屯", "百货", 2, "2人", "第一百货", "3里屯"], ["二货", 100.5, "屯三里", ""]),
        ("It costs 4.5 of 2024 kroner", [4.5, "2024", "4.50", "of 2024"], [5, 4, 20, "24", "cost"]),
        ("Twenty One Pilots, track 5th", ["one pilots", 21, "Twenty-One Pilots", 5], [20, "pilot"]),
        ("人均50-100元", ["50-100元", "100元", "人均"], ["0-10", "50100"]),
    ],
)
def test_a_text_gives(text: str, gives: list[Any], lacks: list[Any]) -> None:
    assert [value for value in gives if not passage(text).gives(value)] == []
    assert [value for value in lacks if passage(text).gives(value)] == []
