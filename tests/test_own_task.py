"""A task and a check of one's own: README's own lines, from one file, through every door."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from qwen_lightning.__main__ import main
from qwen_lightning.commands.workbench import load_workbench
from qwen_lightning.errors import ConfigError
from tests.conftest import REPOSITORY, Stage

DATES = [("the third of May 2024", "2024-05-03"), ("Christmas of 1999", "1999-12-25")]
RECORDS = [
    {"id": str(number), "task": "iso_date", "input": text, "gold": gold} for number, (text, gold) in enumerate(DATES)
]
SQL = {
    "id": "q",
    "task": "text2sql",
    "input": "How many?",
    "schema": "CREATE TABLE t (a INTEGER);",
    "dialect": "postgres",
    "gold": "SELECT COUNT(*) FROM t",
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """README's file and config, with the file where Python looks."""
    section = (REPOSITORY / "README.md").read_text("utf-8").split("## A task of your own")[1].split("\n## ")[0]
    (code,), (settings,) = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("python", "yaml"))
    (tmp_path / "my_tasks.py").write_text(code, "utf-8")
    path = tmp_path / "own.yaml"
    path.write_text(settings, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, list[dict]], str]:
    """Writes a JSONL file and returns its path."""

    def write(name: str, rows: list[dict]) -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(path)

    return write


def test_check_and_score(config: Path, write: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = SQL | {"gold": "SELECT " + " + ".join(["a"] * 200) + " FROM t"}
    assert main(["check", write("good", [*RECORDS, SQL]), "-c", str(config)]) == 0
    assert main(["check", write("bad", [RECORDS[0] | {"gold": "3 May"}]), "-c", str(config)]) == 2
    assert "bad.jsonl:1: gold fails format" in capsys.readouterr().err
    said = [("0", "2024-05-03"), ("0", "2024-05-04"), ("0", "3 May"), ("q", SQL["gold"]), ("q", long["gold"])]
    completions = write("completions", [{"id": i, "completion": text} for i, text in said])
    scores = tmp_path / "scores.jsonl"
    records = write("records", [*RECORDS, SQL])
    common = ["--records", records, "--completions", completions, "--output", str(scores)]
    assert main(["score", *common, "-c", str(config)]) == 0
    rows = [json.loads(line) for line in scores.read_text("utf-8").splitlines()]
    assert [row["reward"] for row in rows[:3]] == [3, 1, 0]
    assert [row["checks"]["short"] for row in rows[3:]] == [1, 0]
    assert "short: 811 characters" in rows[4]["detail"]


def test_grpo_trains_it(config: Path, write: Callable, trained: Stage, stage: Stage, scalars: Callable) -> None:
    adapter = {"init_args": {"adapter": str(trained.folder / "adapters" / "base-sft")}}
    prompts = [RECORDS[number % 2] | {"id": str(number), "input": f"{number} days after"} for number in range(4)]
    data = {"init_args": {"prompts": [write("prompts", prompts)], "task_regression": [write("held_out", RECORDS)]}}
    executor = stage.changes("grpo", 2, "own")["tasks"]["sql"]
    tasks = yaml.safe_load(config.read_text("utf-8"))["tasks"] | {"sql": executor}
    overlay = stage.overlay("dates", {"tasks": tasks, "model": adapter, "data": data})
    assert stage.fit("grpo", 2, "own", "-c", str(config), "-c", overlay) == 0
    found = scalars(stage.log_dir("own"))
    assert {"regression/iso_date/format", "regression/iso_date/match"} <= set(found)
    assert {"train/iso_date/format", "train/iso_date/match", "train/reward"} <= set(found)


def test_a_check_finds_its_task(config: Path, tmp_path: Path) -> None:
    registry, rewards = load_workbench([config])
    assert registry["text2sql"].checks[-1] == "short"
    assert rewards.weights["text2sql"]["strong"]["short"] == -1
    for name, task, fault in [
        ("match", "text2sql", "already"),
        ("short", "sql", "no verifier"),
        ("a", "general", "Gen"),
    ]:
        (tmp_path / f"own_{name}.py").write_text(
            "from qwen_lightning.tasks.task_check import CheckResult, TaskCheck\n"
            f"class Own(TaskCheck):\n    task, name = {task!r}, {name!r}\n"
            "    def measure(self, record, completion):\n        return CheckResult(1.0)\n",
            "utf-8",
        )
        bad = tmp_path / "bad.yaml"
        bad.write_text(f"tasks: {{checks: [{{class_path: own_{name}.Own}}]}}", "utf-8")
        with pytest.raises(ConfigError, match=fault):
            load_workbench([bad])
