"""Cases as text: files that `score` reads as completions, with the verdicts that are expected of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.__main__ import main

FIXTURES = Path(__file__).parents[1] / "fixtures"
Rows = list[dict[str, Any]]


def read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def scored(tmp_path: Path) -> Callable[[Path, Path | Rows], Rows]:
    """Scores completions, a file's or rows, with `score`; the rows of the scores file."""

    def score(records: Path, completions: Path | Rows) -> Rows:
        if not isinstance(completions, Path):
            rows, completions = completions, tmp_path / "completions.jsonl"
            completions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        output = tmp_path / "scores.jsonl"
        arguments = ["--records", str(records), "--completions", str(completions), "--output", str(output)]
        assert main(["score", *arguments]) == 0
        return read(output)

    return score
