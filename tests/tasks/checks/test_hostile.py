"""Answers as a model that has come apart may give them: each is judged, and soon."""

import json
from pathlib import Path

import pytest

from qwen_lightning.records import GeneralRecord
from qwen_lightning.tasks.general import General

FIXTURES = Path(__file__).parents[2] / "fixtures" / "checks"
GENERAL = General()
CHECKS = {
    row["check"]["type"]: row
    for path in sorted(FIXTURES.glob("*.jsonl"))
    if path.stem != "faults"
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
}
ANSWERS = {
    "lines": "\n" * 8000 + "x",
    "stars": "*" * 8000,
    "brackets": "[{" * 4000,
    "braces": '{"a":' * 2000,
    "table": "|-|-|\n" * 2000,
    "fences": "```\n" * 2000,
    "clitics": "'s" * 4000,
    "select": "SELECT a " * 1500,
    "digits": "9" * 8000,
    "dots": ". " * 4000,
    "surrogate": "\x00\ud800 x",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_every_check_judges_it(answer):
    for row in CHECKS.values():
        record = GeneralRecord(id="1", task="general", input=row.get("input", "?"), gold="x", checks=[row["check"]])
        verdict = GENERAL.verify(record, answer)
        assert set(verdict.checks) <= {row["check"]["type"], "all"}
