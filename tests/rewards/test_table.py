"""Rewards as the format fixes them, and the weights that are refused."""

import itertools
import math

import pytest
from jsonargparse import ArgumentParser

from qwen_lightning.errors import ConfigError
from qwen_lightning.records import (
    CypherRecord,
    FunctionCallRecord,
    GeneralRecord,
    IntentRewriteRecord,
    RecordBase,
    SlotRecord,
    SQLRecord,
)
from qwen_lightning.rewards.table import DEFAULT_WEIGHTS, RewardTable
from qwen_lightning.tasks.base import Task, VerifiedTask
from qwen_lightning.verdict import Verdict

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def sql(**fields):
    values = {"id": "1", "task": "text2sql", "input": "q", "schema": "CREATE TABLE t (a INT)", "dialect": "postgres"}
    return SQLRecord.model_validate(values | fields)


STRONG_SQL = sql(gold="SELECT 1", database="d")
CYPHER = CypherRecord.model_validate(
    {"id": "1", "task": "text2cypher", "input": "q", "schema": "(:A)", "gold": "MATCH (a:A) RETURN a", "database": "g"}
)
CALL = FunctionCallRecord.model_validate(
    {"id": "1", "task": "function_call", "input": "q", "tools": [TOOL], "gold": []}
)
SLOT = SlotRecord.model_validate(
    {"id": "1", "task": "slot_json", "input": "q", "slots": {"type": "object", "properties": {}}, "gold": {}}
)
REWRITE = IntentRewriteRecord.model_validate({"id": "1", "task": "intent_rewrite", "input": "q", "gold": "Q"})
GENERAL = GeneralRecord.model_validate({"id": "1", "task": "general", "input": "q"})


class Judged(VerifiedTask[RecordBase]):
    """A verified task as a user writes one."""

    record_type = RecordBase

    def tag(self, record):
        return None

    def system(self, record):
        return ""

    def verify(self, record, completion):
        return Verdict({})


def judged(name, checks, decides, implied=(), graded=()):
    fields = {"name": name, "checks": tuple(checks), "decides": decides}
    return type(name, (Judged,), fields | {"implied": frozenset(implied), "graded": frozenset(graded)})()


SQL_CHECKS = ("parses", "executes", "references", "dialect", "match")
TASKS: dict[str, Task] = {
    "text2sql": judged("text2sql", SQL_CHECKS, "match", {"parses", "executes"}),
    "text2cypher": judged(
        "text2cypher", ("parses", "executes", "references", "match"), "match", {"parses", "executes"}
    ),
    "function_call": judged(
        "function_call",
        ("json", "schema", "required", "types", "no_extra_text", "match"),
        "match",
        {"json", "schema", "required", "types"},
    ),
    "slot_json": judged(
        "slot_json", ("json", "schema", "f1", "grounded"), "f1", {"json", "schema", "grounded"}, {"f1"}
    ),
    "intent_rewrite": judged("intent_rewrite", ("exact", "overlap"), "exact", {"overlap"}, {"overlap"}),
}


@pytest.mark.parametrize(
    ("record", "checks", "expected"),
    [
        (STRONG_SQL, {"parses": 1, "executes": 1, "references": 1, "dialect": 1, "match": 1}, 3),
        (STRONG_SQL, {"parses": 1, "executes": 1, "references": 1, "dialect": 0, "match": 0}, 1),
        (STRONG_SQL, {"parses": 1, "executes": 0, "references": 0, "match": 0}, -2),
        (STRONG_SQL, {"parses": 1, "executes": 1, "references": 1}, 1),
        (sql(), {"executes": 1, "references": 1, "dialect": 0}, 2),
        (sql(database="d"), {"executes": 1, "references": 0, "dialect": 1}, 2),
        (sql(gold="SELECT 1"), {"executes": 1, "references": 1, "dialect": 1}, 3),
        (CYPHER, {"parses": 1, "executes": 1, "references": 0, "match": 0}, 0),
        (CYPHER, {"parses": 1, "executes": 1, "references": 1, "match": 1}, 4),
        (CALL, {"json": 1, "schema": 1, "required": 1, "types": 1, "match": 1}, 6),
        (CALL, {"json": 1, "schema": 1, "required": 1, "types": 0, "match": 0, "no_extra_text": 0}, 2),
        (SLOT, {"json": 1, "schema": 1, "f1": 0.25, "grounded": 0.0}, 1.5),
        (REWRITE, {"exact": 0, "overlap": 0.5}, 0.5),
        (REWRITE.model_copy(update={"gold": None}), {}, None),
        (GENERAL, {"all": 1}, None),
    ],
)
def test_default_rewards(record, checks, expected):
    assert RewardTable().reward(record, Verdict(checks)) == expected


def test_an_engine_gap_in_a_weighted_check_gives_no_reward():
    checks = {"parses": 1, "references": 1}
    assert RewardTable().reward(STRONG_SQL, Verdict(checks, gaps=frozenset({"executes", "match"}))) is None
    # The same gap where the check has no weight.
    weights = {"text2sql": {"strong": {"executes": 0.0, "match": 0.0, "references": -2.0}}}
    assert RewardTable(weights).reward(STRONG_SQL, Verdict(checks, gaps=frozenset({"executes", "match"}))) == 0


def test_overrides_merge_check_by_check():
    table = RewardTable({"text2sql": {"strong": {"match": 3}}, "function_call": {"match": 4.0}})
    assert table.weights["text2sql"]["strong"] == {"executes": 1, "match": 3, "references": -2}
    assert table.weights["text2sql"]["weak"] == DEFAULT_WEIGHTS["text2sql"]["weak"]
    assert table.weights["function_call"]["strong"]["match"] == 4
    assert DEFAULT_WEIGHTS["text2sql"]["strong"]["match"] == 2, "the defaults are not written to"
    table.check(TASKS)


def test_reads_from_yaml_through_jsonargparse(tmp_path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(RewardTable, "rewards")
    file = tmp_path / "config.yaml"
    file.write_text("rewards: {weights: {text2sql: {strong: {match: 3}}, function_call: {match: 4}}}\n")
    table = parser.instantiate(parser.parse_args(["--config", str(file)])).rewards
    assert table.weights["text2sql"]["strong"]["match"] == 3
    assert table.weights["function_call"]["strong"]["match"] == 4
    assert parser.instantiate(parser.parse_args([])).rewards.weights == RewardTable().weights


def test_a_task_of_ones_own_has_weights_by_gold():
    mine = judged("mine", ("good", "tidy"), "good")
    table = RewardTable({"mine": {"strong": {"good": 2, "tidy": -1}, "weak": {"tidy": 1}}})
    table.check(TASKS | {"mine": mine})
    record = RecordBase(id="1", task="mine", input="q", gold="x")
    assert table.reward(record, Verdict({"good": 1, "tidy": 0})) == 1
    assert table.reward(record.model_copy(update={"gold": None}), Verdict({"tidy": 1})) == 1


@pytest.mark.parametrize("name", sorted(TASKS))
def test_no_wrong_answer_scores_above_a_right_one(name):
    """Over all verdicts that a right and a wrong answer can have, on the defaults."""
    task, weights = TASKS[name], DEFAULT_WEIGHTS[name]["strong"]
    RewardTable().check({name: task})
    record = {r.task: r for r in (STRONG_SQL, CYPHER, CALL, SLOT, REWRITE)}[name]

    def rewards(right):
        values = {
            check: (1.0,) if right and (check == task.decides or check in task.implied)
            else (0.0, 0.9) if check == task.decides and check in task.graded
            else (0.0,) if check == task.decides
            else (0.0, 1.0)
            for check in task.checks
        }  # fmt: skip
        return [
            RewardTable().reward(record, Verdict(dict(zip(values, row, strict=True))))
            for row in itertools.product(*values.values())
        ]

    assert weights
    assert max(rewards(right=False)) <= min(rewards(right=True))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (
            {"text2sql": {"strong": {"match": 1}}},
            r"text2sql\.strong: .*match weighs 1, .*references 2 = 2\); raise match to 2",
        ),
        ({"text2sql": {"strong": {"match": 0}}}, "match weighs 0"),
        ({"text2sql": {"strong": {"dialect": 0.5}}}, r"references 2 \+ dialect 0\.5 = 2\.5"),
        ({"function_call": {"no_extra_text": -3}}, "match weighs 2"),
        (
            {"text2sql": {"strong": {"matches": 2}}},
            r"text2sql\.strong\.matches: text2sql has no such check; it has parses",
        ),
        ({"text2sql": {"weak": {"match!": 2}}}, "no such check"),
        ({"text2sequel": {"match": 2}}, r"text2sequel: unknown task; the tasks are text2sql"),
        ({"chat": {"x": 2}}, "verifies nothing"),
    ],
)
def test_weights_the_tasks_cannot_use_are_refused(weights, says):
    class Chat(Task):
        name = "chat"
        record_type = RecordBase

        def tag(self, record):
            return None

        def system(self, record):
            return ""

    table = RewardTable(weights)
    with pytest.raises(ConfigError, match=says):
        table.check(TASKS | {"chat": Chat()})


def test_a_graded_deciding_check_must_imply_the_others():
    loose = judged("slot_json", ("json", "schema", "f1", "grounded"), "f1", {"json", "schema"}, {"f1"})
    with pytest.raises(ConfigError, match=r"f1 is graded.*grounded 1; set these to 0"):
        RewardTable().check({"slot_json": loose})
    RewardTable({"slot_json": {"grounded": 0}}).check({"slot_json": loose})


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"text2sql": {"strong": {"match": math.nan}}}, r"text2sql\.strong\.match is nan; a weight is a finite number"),
        ({"function_call": {"match": math.inf}}, r"function_call\.match is inf"),
        ({"function_call": {"match": True}}, "is True"),
        ({"function_call": {"match": "2"}}, "is '2'"),
        ({"text2sql": {"match": 3}}, r"say which: rewards\.weights\.text2sql\.strong"),
        ({"text2sql": {"strong": {"match": 3}, "match": 3}}, r"text2sql\.match: expected strong and weak"),
        ({"text2sql": {"stronger": {"match": 3}}}, r"text2sql\.stronger: expected"),
        ({"text2sql": 3}, "must be a mapping"),
        ({"general": {"all": 1}}, "general completions have no reward"),
    ],
)
def test_weights_of_another_shape_are_refused(weights, says):
    with pytest.raises(ConfigError, match=says):
        RewardTable(weights)
