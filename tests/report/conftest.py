"""The worst page."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.regression.scores import read_rows
from tests.conftest import REPOSITORY

HOSTILE = [
    json.loads(line)
    for line in (REPOSITORY / "tests" / "fixtures" / "report" / "hostile.jsonl").read_text("utf-8").splitlines()
]


@pytest.fixture(scope="session")
def hostile(braked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a braked run in which the model answered what pages are broken with."""
    folder = Path(shutil.copytree(braked, tmp_path_factory.mktemp("hostile") / "version_0"))
    rows = read_rows(folder / "regression" / "step_000000.jsonl")
    before, after = [], []
    for position, row in enumerate(rows):
        text = HOSTILE[position % len(HOSTILE)]
        # Some of each task got worse, some better, and some stayed.
        checks = {name: float(position % 3 != 1) for name in row.checks} or {"all": float(position % 3 != 1)}
        flipped = {name: 1 - value for name, value in checks.items()} if position % 3 else checks
        before.append(replace(row, checks=checks, completion=text, detail=text))
        after.append(replace(row, checks=flipped, completion=text[::-1], detail=text))
    for step, changed in ((0, before), (8, after)):
        lines = [json.dumps(row.to_dict()) + "\n" for row in changed]
        (folder / "regression" / f"step_{step:06d}.jsonl").write_text("".join(lines), encoding="utf-8")
    sample = json.loads((folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    with open(folder / "samples.jsonl", "a", encoding="utf-8") as handle:
        for text in HOSTILE:
            handle.write(json.dumps({**sample, "input": text, "gold": text, "completion": text, "detail": text}) + "\n")
    page = folder / "report.html"
    assert main(["report", str(folder), "--output", str(page)]) == 0
    return page
