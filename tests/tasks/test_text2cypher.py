"""How text2cypher is asked and judged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from qwen_lightning.errors import DataError
from qwen_lightning.execution.cypher.executors import ArcadeDBExecutor
from qwen_lightning.records import CypherRecord, RecordReader
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.tasks.text2cypher import Text2Cypher
from tests.execution.cypher.cases import library_schema
from tests.execution.cypher.conftest import GRAPHS
from tests.execution.cypher.test_executors import by_gold


def record(**fields: Any) -> CypherRecord:
    values = {
        "id": "r",
        "task": "text2cypher",
        "input": "Which books do readers like best?",
        "schema": library_schema(),
        **fields,
    }
    parsed = RecordReader().parse(values)
    assert isinstance(parsed, CypherRecord)
    return parsed


@pytest.fixture(scope="module")
def task() -> Iterator[Text2Cypher]:
    made = Text2Cypher(ArcadeDBExecutor(GRAPHS, workers=1))
    yield made
    made.close()


def test_prompt_and_target() -> None:
    gold = "MATCH (b:Book) RETURN b.title"
    asked = record(gold=gold)
    prompt = Text2Cypher().prompt(asked)
    tag, rule, schema = prompt.messages[0]["content"].split("\n", 2)
    assert tag == "[TASK=TEXT2CYPHER|NEO4J=v5]"
    assert rule == "Answer with one Cypher query and nothing else."
    assert schema == library_schema()
    assert Text2Cypher().target(asked) == gold
    with pytest.raises(DataError, match="no gold"):
        Text2Cypher().target(record())


def test_mutations_lower_the_reward_and_none_reaches_the_golds(task: Text2Cypher) -> None:
    table = RewardTable()
    kinds = set()
    for gold, kind, query in by_gold("mutations.cypher"):
        asked = record(gold=gold, database="library")
        right = task.verify(asked, gold)
        assert right.checks == dict.fromkeys(task.checks, 1.0)
        full, wrong = table.reward(asked, right), table.reward(asked, task.verify(asked, query))
        assert full is not None
        assert wrong is not None, kind
        assert wrong < full, kind
        kinds.add(kind)
    assert len(kinds) >= 6


@pytest.mark.parametrize(
    ("completion", "checks"),
    [
        ("MATCH (b:Book) RETURN b.isbn", {"parses": 1, "executes": 1, "references": 1, "match": 0}),
        ("MATCH (b:Book) RETURN b.name", {"parses": 1, "executes": 1, "references": 0, "match": 0}),
        ("MATCH (b:Book RETURN b.title", {"parses": 0, "executes": 0, "references": 0, "match": 0}),
        ("MATCH (b:Book) SET b.title = 'x' RETURN b.title", {"parses": 0, "executes": 0, "references": 0, "match": 0}),
        ("MATCH (b:Book) RETURN b.year / 0", {"parses": 1, "executes": 0, "references": 1, "match": 0}),
        ("", {"parses": 0, "executes": 0, "references": 0, "match": 0}),
    ],
)
def test_checks(task: Text2Cypher, completion: str, checks: dict[str, int]) -> None:
    verdict = task.verify(record(gold="MATCH (b:Book) RETURN b.title", database="library"), completion)
    assert verdict.checks == checks
    assert verdict.detail


def test_without_executor_static_checks_alone() -> None:
    asked = record(gold="MATCH (b:Book) RETURN b.title", database="library")
    assert Text2Cypher().verify(asked, "MATCH (b:Book) RETURN b.title").checks == {"parses": 1.0, "references": 1.0}
    assert Text2Cypher().verify(asked, "MATCH (b:Film) RETURN b.title").checks["references"] == 0.0


def test_without_gold_a_query_must_read_the_schema(task: Text2Cypher) -> None:
    weak = record(database="library")
    assert task.verify(weak, "RETURN 1 AS one").checks["references"] == 0.0
    checks = task.verify(weak, "MATCH (b:Book) RETURN b.title").checks
    assert checks == {"parses": 1.0, "executes": 1.0, "references": 1.0}


def test_a_gap_is_named_and_has_no_reward(task: Text2Cypher) -> None:
    asked = record(gold="MATCH (r:Reader) RETURN r.name", database="library")
    query = "MATCH p = SHORTEST 1 (a:Reader)-[:KNOWS]-+(b:Reader) RETURN a.name"
    verdict = task.verify(asked, query)
    assert verdict.gaps == {"executes", "match"}
    assert RewardTable().reward(asked, verdict) is None


def test_task_needs_no_driver_and_no_torch() -> None:
    program = (
        "import sys, qwen_lightning.tasks.text2cypher, qwen_lightning.execution.cypher.executors\n"
        "print([m for m in ('neo4j', 'jpype', 'arcadedb_embedded', 'torch', 'lightning') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
