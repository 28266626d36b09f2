"""Rewriting through `check` and `score`: cases as text, and mutations of golds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.tasks.utterances import longest_common_subsequence, rouge_l

FIXTURES = Path(__file__).parents[1] / "fixtures" / "rewrites"
RECORDS = FIXTURES / "records.jsonl"
Scored = Callable[..., list[dict[str, Any]]]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_verdicts(scored: Scored) -> None:
    cases = rows(FIXTURES / "verdicts.jsonl")
    for case, row in zip(cases, scored(RECORDS, FIXTURES / "verdicts.jsonl"), strict=True):
        assert row["checks"] == pytest.approx(case["checks"]), case["completion"]
        assert row["reward"] == (None if case["reward"] is None else pytest.approx(case["reward"]))
        assert bool(row["detail"]) == (min(row["checks"].values(), default=1) < 1)


def test_golds_score_full_marks_and_blank_ones_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(RECORDS)]) == 0
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"id": "1", "task": "intent_rewrite", "input": "x", "gold": " "}) + "\n")
    assert main(["check", str(path)]) == 2
    assert f"{path}:1: intent_rewrite record: gold is blank" in capsys.readouterr().err


MUTATIONS: dict[str, Callable[[str], str]] = {
    "a prefix": lambda gold: f"Rewritten: {gold}",
    "an explanation": lambda gold: f"{gold} (the user asks again)",
    "a word left out": lambda gold: gold[: len(gold) // 2] + gold[len(gold) // 2 + 4 :],
    "a word changed": lambda gold: gold.replace("Vik", "Oslo").replace("上海", "北京"),
    "turned round": lambda gold: " ".join(reversed(gold.split())) if " " in gold else gold[::-1],
    "twice": lambda gold: f"{gold} {gold}",
    "quoted": lambda gold: f"“{gold}”",
    "another question": lambda gold: "Who sails the boat?",
    "nothing": lambda gold: "",
}


def test_a_mutated_gold_earns_less(scored: Scored) -> None:
    golds = {row["id"]: row["gold"] for row in rows(RECORDS) if row.get("gold") and row["id"] != "mark"}
    said = [{"id": name, "completion": mutate(gold)} for mutate in MUTATIONS.values() for name, gold in golds.items()]
    for row in scored(RECORDS, said):
        assert row["reward"] < 2
        assert row["checks"]["exact"] == 0


def test_overlap_falls_with_order() -> None:
    gold = "what did the captain of the old ferry say about the storm"
    words = gold.split()
    dice = random.Random(0)
    for _ in range(50):
        shuffled = dice.sample(words, len(words))
        if shuffled != words:
            assert rouge_l(gold, " ".join(shuffled)) < 1


def test_longest_common_subsequence_against_the_table() -> None:
    def table(first: list[str], second: list[str]) -> int:
        row = [0] * (len(second) + 1)
        for a in first:
            above, row = row, [0]
            for place, b in enumerate(second):
                row.append(above[place] + 1 if a == b else max(above[place + 1], row[place]))
        return row[-1]

    dice = random.Random(1)
    for _ in range(1500):
        first, second = (dice.choices("abcd", k=dice.randint(0, 14)) for _ in range(2))
        assert longest_common_subsequence(first, second) == table(first, second)


@pytest.mark.timeout(20)
def test_a_long_answer_is_judged_soon(scored: Scored) -> None:
    said = [{"id": name, "completion": text} for name in ("ferry", "明天") for text in ("a " * 50_000, "天" * 100_000)]
    assert all(row["reward"] < 0.1 for row in scored(RECORDS, said))
