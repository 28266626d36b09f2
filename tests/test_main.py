"""The table of verbs: exit codes, one-line faults, and no torch where none is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qwen_lightning.__main__ import COMMANDS, TRAINER_VERBS, main

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in (*TRAINER_VERBS, *COMMANDS))])
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from qwen_lightning.__main__ import main; "
        f"code = main({arguments!r}); heavy = {{'torch', 'lightning', 'transformers'}} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m qwen_lightning" in done.stdout


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for verb in (*TRAINER_VERBS, *COMMANDS):
        assert f"    {verb}" in printed


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "VERB"),
        (["train"], "train"),
        (["check", "nowhere.jsonl"], "nowhere.jsonl"),
        (["fit", "-c", "nowhere.yaml"], "nowhere.yaml"),
        (["fit", "-c", "configs/sft.yaml", "--model.learning_rat", "1"], "learning_rat"),
        (["fit", "-c", "configs/sft.yaml", "--model.quantization", "fp4"], "fp4"),
        (["regress", "--adapter", "nowhere", "--suite", "s.jsonl", "--output", "{tmp}/o.json"], "nowhere"),
        (["export", "--adapter", "nowhere", "--output", "{tmp}/o"], "nowhere"),
    ],
)
def test_a_usage_fault_is_exit_code_2_and_names_what_is_wrong(
    arguments: list[str], named: str, in_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    assert named in capsys.readouterr().err.strip().splitlines()[-1]
