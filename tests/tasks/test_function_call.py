"""Function calls against tests/fixtures/function_call: records, what a model said, and what each check says of it."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.records import FunctionCallRecord, RecordReader
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.tasks.function_call import NO_TOOL_FITS, FunctionCall

FIXTURES = Path(__file__).parents[1] / "fixtures" / "function_call"
TASK = FunctionCall()


def rows(name):
    return [json.loads(line) for line in (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


RECORDS: dict[str, FunctionCallRecord] = {
    item.record.id: item.record for item in RecordReader().read(FIXTURES / "records.jsonl")
}
CASES = rows("cases")


def said(calls):
    blocks = [f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in calls]
    return "\n".join(blocks) or NO_TOOL_FITS


def reward(record, completion):
    return RewardTable().reward(record, TASK.verify(record, completion))


@pytest.mark.parametrize("row", CASES, ids=lambda row: f"{row['id']}-{'-'.join(row['fails']) or 'right'}")
def test_case(row):
    verdict = TASK.verify(RECORDS[row["id"]], row["completion"])
    made = set(TASK.checks) - set(row.get("absent", []))
    assert verdict.checks == {name: float(name not in row["fails"]) for name in made}, verdict.detail
    assert row.get("detail", "") in verdict.detail
    assert bool(verdict.detail) == bool(row["fails"])
    assert "\n" not in verdict.detail
    if verdict.checks.get("match") == 1:
        assert all(verdict.checks[name] == 1 for name in TASK.implied)


def test_every_check_has_cases_that_hold_fail_and_are_not_made():
    for name in TASK.checks:
        assert any(name in row["fails"] for row in CASES)
        assert any(name not in row["fails"] + row.get("absent", []) for row in CASES)
    assert {name for row in CASES for name in row.get("absent", [])} == {"match", "no_extra_text"}


def test_score_gives_the_same_verdicts_and_rewards(tmp_path):
    completions = tmp_path / "c.jsonl"
    completions.write_text("".join(json.dumps(row) + "\n" for row in CASES), encoding="utf-8")
    files = ["--records", str(FIXTURES / "records.jsonl"), "--completions", str(completions)]
    assert main(["score", *files, "--output", str(tmp_path / "o.jsonl")]) == 0
    scores = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(scores) == len(CASES)
    for row, score in zip(CASES, scores, strict=True):
        assert score["id"] == row["id"]
        assert {name for name, value in score["checks"].items() if value < 1} == set(row["fails"])
        gold = RECORDS[row["id"]].gold is not None
        right = 6.0 if gold else 4.0
        lost = sum({"match": 2.0}.get(name, 1.0) for name in row["fails"])
        assert score["reward"] == right - lost


def test_check_passes_the_fixtures_golds(capsys):
    assert main(["check", str(FIXTURES / "records.jsonl")]) == 0
    assert f"{len(RECORDS)} records, 0 faults, 0 notes" in capsys.readouterr().out


@pytest.mark.parametrize("row", rows("faults"), ids=lambda row: row["fault"][:40])
def test_check_names_the_fault(row, tmp_path, capsys):
    base = json.loads(RECORDS["clock"].model_dump_json(exclude_none=True)) | {"gold": []}
    file = tmp_path / "r.jsonl"
    file.write_text(json.dumps(base | row["change"]) + "\n", encoding="utf-8")
    assert main(["check", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}:1: ")
    assert row["fault"] in line


def test_a_target_is_what_the_parser_reads():
    for record in RECORDS.values():
        if record.gold is not None:
            assert reward(record, TASK.target(record)) == 6.0
    assert TASK.target(RECORDS["none"]) == NO_TOOL_FITS
    assert TASK.target(RECORDS["lamps"]).count("<tool_call>\n") == 2


def call(name, **arguments):
    return {"name": name, "arguments": arguments}


def drop_argument(calls, chance):
    victim = chance.choice([one for one in calls if one["arguments"]])
    del victim["arguments"][chance.choice(list(victim["arguments"]))]
    return calls


def wrong_type(calls, chance):
    victim = chance.choice([one for one in calls if one["arguments"]])["arguments"]
    victim[chance.choice(list(victim))] = chance.choice([None, [["?"]], {"?": {}}])
    return calls


def wrong_value(calls, chance):
    def other(value):
        if isinstance(value, dict | list):
            keys = list(value) if isinstance(value, dict) else range(len(value))
            value[chosen] = other(value[chosen := chance.choice(keys)])
            return value
        return not value if isinstance(value, bool) else value + 17 if isinstance(value, int | float) else value + "?"

    victim = chance.choice([one for one in calls if one["arguments"]])["arguments"]
    name = chance.choice(list(victim))
    victim[name] = other(victim[name])
    return calls


def extra_argument(calls, chance):
    chance.choice(calls)["arguments"]["undeclared option"] = chance.choice([1, "a", None])
    return calls


def other_tool(calls, chance):
    chance.choice(calls)["name"] = chance.choice(["lamp.set", "find_train", "nothing", "clock", "tag"])
    return calls


def drop_call(calls, chance):
    calls.pop(chance.randrange(len(calls)))
    return calls


def repeat_call(calls, chance):
    return [*calls, chance.choice(calls)]


MUTATIONS = [drop_argument, wrong_type, wrong_value, extra_argument, other_tool, drop_call, repeat_call]
TEXTS = {
    "prose before": lambda text: f"Sure.\n{text}",
    "prose after": lambda text: f"{text}\nDone.",
    "no tags": lambda text: text.replace("<tool_call>\n", "").replace("\n</tool_call>", ""),
    "cut off": lambda text: text[: len(text) * 2 // 3],
    "a bracket less": lambda text: text.replace("}\n</tool_call>", "\n</tool_call>"),
    "nothing": lambda text: "",
}


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
@pytest.mark.parametrize("id_", ["train", "train-accept", "order", "tree", "python", "open"])
def test_a_wrong_call_never_reaches_golds_reward(mutate, id_):
    record, chance, lowered = RECORDS[id_], random.Random(id_), 0
    gold = [one.model_dump() for one in record.gold]
    for _ in range(60):
        calls = mutate(copy.deepcopy(gold), chance)
        if calls == gold:
            continue
        verdict = TASK.verify(record, said(calls))
        gained = RewardTable().reward(record, verdict)
        assert verdict.checks["match"] == 0
        assert gained <= 4.0
        lowered += 1
    assert lowered > 5


@pytest.mark.parametrize("spoil", TEXTS.values(), ids=TEXTS.keys())
def test_a_spoiled_text_never_reaches_golds_reward(spoil):
    for record in RECORDS.values():
        if record.gold:
            assert reward(record, spoil(TASK.target(record))) <= 5.0


def test_where_no_tool_fits_every_call_lowers_the_reward():
    for other in RECORDS.values():
        if other.gold:
            assert reward(RECORDS["none"], TASK.target(other)) <= 4.0


def test_without_gold_a_call_is_judged_by_its_schema_alone():
    record = RECORDS["train"].model_copy(update={"gold": None})
    verdict = TASK.verify(record, said([call("find_train", origin="here", destination="there")]))
    assert verdict.checks == dict.fromkeys((*TASK.implied, "no_extra_text"), 1.0)
