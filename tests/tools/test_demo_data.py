"""The demo's data keep the formats' contract, and what is measured is never trained on."""

import itertools
import re
from pathlib import Path
from random import Random

import duckdb
import pytest

from qwen_lightning.records import RecordBase, RecordReader, SQLRecord
from tools.demo.language import CONCEPTS, KINDS, ask, careless, make_database
from tools.demo.make_data import SCALES, DemoData, write_demo

TASKS = {"intent_rewrite", "slot_json", "function_call", "text2sql", "text2cypher"}
FILES = {
    "task_sft": TASKS,
    "general_sft": {"general"},
    "grpo_sql": {"text2sql"},
    "general_regression": {"general"},
    "task_regression": TASKS,
    "heldout_seen": {"text2sql"},
    "heldout_new": {"text2sql"},
    "persona_sft": {"persona"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DemoData:
    return write_demo(tmp_path_factory.mktemp("demo"), 3, SCALES["full"])


def records(data: DemoData, name: str) -> list[RecordBase]:
    return [located.record for located in RecordReader().read(data.file(name))]


def prompt(record: RecordBase) -> str:
    return re.sub(r"\s+", " ", record.model_dump_json(exclude={"id", "gold", "meta"}).casefold())


def test_every_file_is_read_and_holds_its_tasks(data: DemoData) -> None:
    assert {path.stem for path in data.root.glob("data/*.jsonl")} == set(FILES)
    for name, tasks in FILES.items():
        assert {record.task for record in records(data, name)} == tasks


def test_both_languages_in_every_file(data: DemoData) -> None:
    for name in FILES:
        chinese = [any("\u4e00" <= letter <= "\u9fff" for letter in record.input) for record in records(data, name)]
        assert 0.05 < sum(chinese) / len(chinese) < 0.7, name


def test_no_two_files_share_a_prompt(data: DemoData) -> None:
    prompts = {name: {prompt(record) for record in records(data, name)} for name in FILES}
    for first, second in itertools.combinations(prompts, 2):
        assert not prompts[first] & prompts[second], (first, second)


def test_new_databases_are_in_no_training_file(data: DemoData) -> None:
    def schemas(name: str) -> set[str]:
        return {record.schema_text for record in records(data, name) if isinstance(record, SQLRecord)}

    assert not schemas("heldout_new") & (schemas("task_sft") | schemas("grpo_sql"))
    assert schemas("heldout_seen") <= schemas("task_sft")


@pytest.mark.parametrize("name", ["task_sft", "grpo_sql", "heldout_seen", "heldout_new"])
def test_every_gold_query_runs_and_finds_rows(data: DemoData, name: str) -> None:
    connections: dict[str, duckdb.DuckDBPyConnection] = {}
    for record in records(data, name):
        if not isinstance(record, SQLRecord):
            continue
        assert record.database is not None
        assert record.gold is not None
        if record.database not in connections:
            connections[record.database] = duckdb.connect()
            connections[record.database].execute((data.databases / f"{record.database}.sql").read_text("utf-8"))
        assert connections[record.database].execute(record.gold).fetchall(), record.gold


def test_same_seed_same_bytes(tmp_path: Path, data: DemoData) -> None:
    again, other = (write_demo(tmp_path / str(seed), seed, SCALES["full"]) for seed in (3, 4))
    for path in data.root.rglob("*.*"):
        name = path.relative_to(data.root)
        assert (again.root / name).read_bytes() == path.read_bytes()
        assert (other.root / name).read_bytes() != path.read_bytes()


def test_questions_of_every_kind_name_what_the_query_needs() -> None:
    random = Random(0)
    for kind in KINDS:
        for _ in range(50):
            database = make_database(random)
            question = ask(database, random, kind)
            words = set(question.text.split())
            items = [item for table in database.tables for item in (table, *table.columns)]
            for item in items:
                if re.search(rf"\b{item.name}\b", question.sql):
                    assert words & {*item.concept.names, item.concept.chinese}, (question, item)


def test_careless_query_uses_the_questions_words() -> None:
    random = Random(1)
    wrong = 0
    for _ in range(200):
        database = make_database(random)
        question = ask(database, random, language="en")
        guess = careless(database, question)
        words = set(question.text.split())
        names = {name for concept in CONCEPTS for name in concept.names}
        assert {word for word in re.findall(r"\w+", guess) if word in names} <= words
        wrong += guess != question.sql
    assert 100 < wrong < 200
