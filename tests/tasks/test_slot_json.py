"""Slots through `check` and `score`: cases as text, mutations of golds, and answers of a model that has come apart."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.records import RecordReader, SlotRecord
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.tasks.slot_json import SlotJSON

FIXTURES = Path(__file__).parents[1] / "fixtures" / "slots"
RECORDS = FIXTURES / "records.jsonl"
GOLDS = {
    item.record.id: item.record
    for item in RecordReader().read(RECORDS)
    if isinstance(item.record, SlotRecord) and item.record.gold
}
TASK, TABLE = SlotJSON(), RewardTable()


def verdict_of(record: SlotRecord, answer: Any) -> tuple[dict[str, float], float]:
    verdict = TASK.verify(record, answer if isinstance(answer, str) else json.dumps(answer))
    reward = TABLE.reward(record, verdict)
    assert reward is not None
    return dict(verdict.checks), reward


@pytest.mark.parametrize("room", ["json", "absent", "schema", "values"])
def test_verdicts(room: str, scored: Callable[..., list[dict[str, Any]]]) -> None:
    cases = [json.loads(line) for line in (FIXTURES / f"{room}.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = scored(RECORDS, FIXTURES / f"{room}.jsonl")
    for case, row in zip(cases, rows, strict=True):
        assert row["checks"] == pytest.approx(case["checks"]), (case["completion"], row["detail"])
        assert row["reward"] == pytest.approx(case["reward"]), case["completion"]
        assert bool(row["detail"]) == (min(row["checks"].values()) < 1)
        assert "\n" not in row["detail"]


def test_golds_score_full_marks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(RECORDS)]) == 0
    assert "7 records, 0 faults, 0 notes" in capsys.readouterr().out
    for record in GOLDS.values():
        assert verdict_of(record, record.gold)[1] == 4


def test_faulty_records_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads(RECORDS.read_text(encoding="utf-8").splitlines()[0])
    integer = {"type": "object", "properties": {"seats": {"type": "integer"}}}
    rows = [
        record,
        record | {"id": "2", "slots": {"type": "object", "properties": {"seats": {"type": "intger"}}}, "gold": {}},
        record | {"id": "3", "slots": integer, "gold": {"seats": "two"}},
        record | {"id": "4", "slots": integer, "gold": {"seats": 2, "car": 1}},
    ]
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main(["check", str(path)]) == 2
    faults = capsys.readouterr().err.splitlines()
    assert len(faults) == 3
    assert faults[0].startswith(f"{path}:2: slot_json record: slots: properties.seats.type: 'intger'")
    assert faults[1].startswith(f"{path}:3: gold fails schema, f1: ")
    assert faults[2].startswith(f"{path}:4: gold fails schema, f1: ")
    assert "car" in faults[2]


Slots = dict[str, Any]


def first_text(gold: Slots) -> str:
    return next(name for name, value in gold.items() if isinstance(value, str | int | float))


def with_value(value: Any) -> Callable[[SlotRecord, Slots], Any]:
    def mutate(record: SlotRecord, gold: Slots) -> Any:
        return gold | {first_text(gold): value}

    return mutate


def missing(record: SlotRecord, gold: Slots) -> Any:
    return {name: value for name, value in gold.items() if name != first_text(gold)}


def invented(record: SlotRecord, gold: Slots) -> Any:
    return gold | {next(name for name in record.slots["properties"] if name not in gold): "Atlantis"}


def misplaced(record: SlotRecord, gold: Slots) -> Any:
    name = first_text(gold)
    other = next(slot for slot in record.slots["properties"] if slot not in gold)
    return {slot: value for slot, value in gold.items() if slot != name} | {other: gold[name]}


MUTATIONS: dict[str, Callable[[SlotRecord, Slots], Any]] = {
    "wrong value": with_value("Atlantis"),
    "another value of the text": lambda record, gold: gold | {first_text(gold): record.input.split()[0]},
    "wrong type": lambda record, gold: gold | {first_text(gold): {"value": gold[first_text(gold)]}},
    "empty value": with_value(""),
    "null": with_value(None),
    "missing slot": missing,
    "invented slot": invented,
    "value in another slot": misplaced,
    "undeclared slot": lambda record, gold: gold | {"remark": record.input},
    "undeclared and empty": lambda record, gold: gold | {"remark": []},
    "nested": lambda record, gold: {"slots": gold},
    "a list of objects": lambda record, gold: [gold],
    "extra prose": lambda record, gold: f"The slots: {json.dumps(gold)}",
    "a fence": lambda record, gold: f"```json\n{json.dumps(gold)}\n```",
    "said twice": lambda record, gold: json.dumps(gold) + json.dumps(gold),
    "a key twice": lambda record, gold: json.dumps(gold)[:-1] + f", {json.dumps(first_text(gold))}: null}}",
    "cut off": lambda record, gold: json.dumps(gold)[:-1],
    "nothing": lambda record, gold: "{}",
}


@pytest.mark.parametrize("mutate", MUTATIONS.values(), ids=MUTATIONS)
def test_a_mutated_gold_earns_less(mutate: Callable[..., Any]) -> None:
    tried = 0
    for record in GOLDS.values():
        gold = copy.deepcopy(record.gold)
        assert gold
        if not any(isinstance(value, str | int | float) for value in gold.values()):
            continue
        checks, reward = verdict_of(record, mutate(record, gold))
        assert reward < 4
        assert checks["f1"] < 1
        tried += 1
    assert tried >= 4


SCALARS: list[Any] = ["Oslo", "oslo ", "Rome", "two", 2, 2.0, "2", "", True, None, "unknown", 7, -1]
KINDS: list[dict[str, Any]] = [
    {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}, {}, {"enum": ["Oslo", 2]},
    {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1, "uniqueItems": True},
    {"type": "object", "properties": {"x": {"type": "string"}, "y": {}}},
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
]  # fmt: skip


def any_value(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.random()
    if kind < 0.7 or depth > 2:
        return dice.choice(SCALARS)
    if kind < 0.85:
        return [any_value(dice, depth + 1) for _ in range(dice.randint(0, 3))]
    return {name: any_value(dice, depth + 1) for name in dice.sample(["x", "y", "z"], dice.randint(0, 3))}


def test_no_wrong_answer_reaches_a_golds_reward() -> None:
    """Over random schemas, golds and answers: f1 of 1 comes with all other checks, and less of it with less reward."""
    dice = random.Random(0)
    right = wrong = 0
    for number in range(1500):
        properties = {name: dice.choice(KINDS) for name in dice.sample(["a", "b", "c", "x"], dice.randint(1, 4))}
        slots: dict[str, Any] = {"type": "object", "properties": properties, "required": ["a"]}
        if dice.random() < 0.2:
            slots["minProperties"] = 1
        names = [*properties, "undeclared"]
        gold = {name: any_value(dice) for name in names if dice.random() < 0.5}
        text = " ".join(str(value) for value in gold.values() if dice.random() < 0.7) or "nothing"
        record = SlotRecord(id=str(number), task="slot_json", input=text, slots=slots, gold=gold)
        checks, best = verdict_of(record, gold)
        if min(checks.values()) < 1:
            assert best < 4  # `check` names such a gold
            continue
        assert best == 4
        answers = [{name: any_value(dice) for name in names if dice.random() < 0.5} for _ in range(3)]
        for answer in [*answers, *({**gold, name: any_value(dice)} for name in names)]:
            checks, reward = verdict_of(record, answer)
            if checks["f1"] == 1:
                assert checks == dict.fromkeys(TASK.checks, 1.0)
                right += 1
            else:
                assert reward < best
                wrong += 1
    assert right > 100
    assert wrong > 1000


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "answer",
    [
        "[" * 100_000,
        '{"from":' * 50_000,
        '{"note": ' + "[" * 60 + "]" * 60 + "}",
        '{"from": "' + "万" * 20_000 + '"}',
        '{"from": "' + "9," * 20_000 + '"}',
        '{"from": "' + "one hundred " * 5_000 + '"}',
        '{"seats": ' + "9" * 4_000 + "}",
        '{"seats": ' + "9" * 40_000 + "}",
        '{"price": 1e-300}',
        '{"from": "\\ud800\\u0000"}',
        json.dumps({str(number): number for number in range(5_000)}),
        json.dumps({"guests": [{"name": "x" * 50, "phone": "1 " * 50 + "x"}] * 2_000}),
        '"' + "\\" * 50_001,
        "\x00\ud800",
    ],
    ids=range(14),
)
def test_whatever_is_said_is_judged(answer: str) -> None:
    for record in GOLDS.values():
        checks, reward = verdict_of(record, answer)
        assert set(checks) == set(TASK.checks)
        assert reward < 4


def test_a_pattern_that_backtracks_is_no_match() -> None:
    slots = {"type": "object", "properties": {"code": {"type": "string", "pattern": "^(a+)+$"}}}
    record = SlotRecord(id="1", task="slot_json", input="x", slots=slots, gold={"code": "aa"})
    assert verdict_of(record, {"code": "a" * 5_000 + "!"})[0]["schema"] == 0
    assert verdict_of(record, {"code": "aa"})[1] == 4


@pytest.mark.parametrize("digits", ["9" * 4_000, "1e300", "0.07", "-0.0"])
def test_numbers_of_any_size_are_judged(digits: str) -> None:
    slots = {"type": "object", "properties": {"n": {"type": "number", "multipleOf": 0.01, "minimum": -0.5}}}
    record = SlotRecord(id="1", task="slot_json", input=f"Take {digits}.", slots=slots, gold={"n": json.loads(digits)})
    assert verdict_of(record, f'{{"n": {digits}}}')[1] == 4
    assert verdict_of(record, '{"n": 5}')[1] < 4
