"""How text2sql is asked and judged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.errors import DataError
from qwen_lightning.execution.base import QueryExecutor, QueryJob, QueryOutcome
from qwen_lightning.execution.sql.executors import DuckDBExecutor
from qwen_lightning.records import RecordReader, SQLRecord
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.tasks.text2sql import Text2SQL

DATABASES = Path(__file__).parents[1] / "fixtures" / "sql" / "databases"
SCHEMA = (DATABASES / "school.sql").read_text(encoding="utf-8").split("INSERT")[0]
GOLD = "SELECT major, count(*) FROM student GROUP BY major"


def record(**fields: Any) -> SQLRecord:
    values = {
        "id": "r",
        "task": "text2sql",
        "input": "How many students in each major?",
        "schema": SCHEMA,
        "dialect": "postgres",
        **fields,
    }
    parsed = RecordReader().parse(values)
    assert isinstance(parsed, SQLRecord)
    return parsed


@pytest.fixture(scope="module")
def task() -> Iterator[Text2SQL]:
    made = Text2SQL(DuckDBExecutor(DATABASES, workers=1))
    yield made
    made.close()


STRONG = record(gold=GOLD, database="school")


def test_prompt_and_target() -> None:
    prompt = Text2SQL().prompt(STRONG)
    assert [message["role"] for message in prompt.messages] == ["system", "user"]
    tag, rule, schema = prompt.messages[0]["content"].split("\n", 2)
    assert tag == "[TASK=TEXT2SQL|DIALECT=POSTGRES]"
    assert rule == "Answer with one SQL query and nothing else."
    assert schema == SCHEMA
    assert Text2SQL().target(STRONG) == GOLD
    with pytest.raises(DataError, match="no gold"):
        Text2SQL().target(record())


def test_gold_scores_full_marks(task: Text2SQL) -> None:
    verdict = task.verify(STRONG, GOLD)
    assert verdict.checks == dict.fromkeys(task.checks, 1.0)
    assert not verdict.gaps


@pytest.mark.parametrize(
    ("completion", "checks"),
    [
        (
            "SELECT major, max(age) FROM student GROUP BY major",
            {"parses": 1, "executes": 1, "references": 1, "dialect": 1, "match": 0},
        ),
        (
            "SELECT faculty, count(*) FROM student GROUP BY faculty",
            {"parses": 1, "executes": 0, "references": 0, "dialect": 1, "match": 0},
        ),
        (
            "SELECT major, name FROM student GROUP BY major",
            {"parses": 1, "executes": 0, "references": 1, "dialect": 1, "match": 0},
        ),
        (
            "SELECT ifnull(major, ''), count(*) FROM student GROUP BY 1",
            {"parses": 1, "executes": 0, "references": 1, "dialect": 0, "match": 0},
        ),
        (f"```sql\n{GOLD}\n```", {"parses": 0, "executes": 0, "references": 0, "dialect": 0, "match": 0}),
        (
            "SELECT CAST(name AS int), 1 FROM student",
            {"parses": 1, "executes": 0, "references": 1, "dialect": 1, "match": 0},
        ),
    ],
)
def test_checks(task: Text2SQL, completion: str, checks: dict[str, int]) -> None:
    verdict = task.verify(STRONG, completion)
    assert verdict.checks == checks
    assert verdict.detail


def test_no_wrong_answer_scores_above_a_right_one(task: Text2SQL) -> None:
    table = RewardTable()
    right = table.reward(STRONG, task.verify(STRONG, GOLD))
    assert right is not None
    for completion in (
        "SELECT 1",
        "SELECT name FROM student",
        "SELECT x FROM y",
        "",
        "SELECT 3, 'physics' FROM student LIMIT 1",
    ):
        wrong = table.reward(STRONG, task.verify(STRONG, completion))
        assert wrong is not None
        assert wrong < right


def test_without_executor_static_checks_alone() -> None:
    verdict = Text2SQL().verify(STRONG, GOLD)
    assert verdict.checks == {"parses": 1.0, "references": 1.0, "dialect": 1.0}
    assert Text2SQL().verify(STRONG, "SELECT a FROM b").checks["references"] == 0.0


def test_without_gold_a_query_must_read_the_schema(task: Text2SQL) -> None:
    weak = record(database="school")
    assert task.verify(weak, "SELECT 1").checks["references"] == 0.0
    verdict = task.verify(weak, "SELECT name FROM student")
    assert verdict.checks == {"parses": 1.0, "executes": 1.0, "references": 1.0, "dialect": 1.0}


def test_unknown_database_means_static_checks(task: Text2SQL) -> None:
    assert "match" not in task.verify(record(gold=GOLD, database="nowhere"), GOLD).checks


def test_gap_names_what_it_leaves_out(task: Text2SQL) -> None:
    verdict = task.verify(STRONG, "SELECT width_bucket(gpa::numeric, 0, 4, 4), 1 FROM student")
    assert verdict.gaps == {"executes", "match"}
    assert not {"executes", "match"} & verdict.checks.keys()
    assert RewardTable().reward(STRONG, verdict) is None


def test_gold_empty_everywhere_is_absent_but_no_gap(task: Text2SQL) -> None:
    gold = "SELECT name FROM student WHERE age < 10 AND age > 20"
    verdict = task.verify(record(gold=gold, database="school"), gold)
    assert "match" not in verdict.checks
    assert not verdict.gaps
    assert "empty on all" in verdict.detail


def test_outcomes_become_verdicts() -> None:
    job = QueryJob("q", "s", "postgres", gold="g", database="d")
    assert Text2SQL().verdict(job, QueryOutcome(True, True, True, True, None, gap="x", detail="x")).gaps == {"match"}
    assert Text2SQL().verdict(job, QueryOutcome(True, True, True, None, None, gap="x")).gaps == {"executes", "match"}
    assert Text2SQL().verdict(job, QueryOutcome(True, True, True, True, None, detail="empty")).gaps == frozenset()


def test_unreadable_schema_is_a_data_error() -> None:
    with pytest.raises(DataError, match="declares no table"):
        Text2SQL().verify(record(schema="students have names"), "SELECT 1")


def test_closing_closes_the_executor() -> None:
    class Closing(QueryExecutor):
        closed = False

        def judge(self, job: QueryJob) -> QueryOutcome:
            raise AssertionError

        def has_database(self, name: str) -> bool:
            return False

        def close(self) -> None:
            self.closed = True

    executor = Closing()
    Text2SQL(executor).close()
    assert executor.closed


def test_task_needs_no_driver_and_no_torch() -> None:
    program = (
        "import sys, qwen_lightning.tasks.text2sql\n"
        "print([m for m in ('duckdb', 'psycopg', 'torch', 'lightning') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        == "[]"
    )
