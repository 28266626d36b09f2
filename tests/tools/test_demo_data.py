"""The demo's data keep the formats' contract, and what is measured is never trained on."""

import itertools
import re
from pathlib import Path
from random import Random

import duckdb
import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.records import CypherRecord, FunctionCallRecord, RecordBase, RecordReader, SlotRecord, SQLRecord
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.calls import make_tool, request
from tools.demo.forms import make_form, utter
from tools.demo.graphs import KINDS as GRAPH_KINDS
from tools.demo.graphs import ask_graph, careless_cypher, make_graph
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
LESSONS = {
    f"{kind}_{name}": {task}
    for kind in ("grpo", "heldout")
    for name, task in (("fc", "function_call"), ("slot", "slot_json"), ("cypher", "text2cypher"))
} | {"heldout_persona": {"persona"}}
ALL_FILES = FILES | LESSONS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DemoData:
    return write_demo(tmp_path_factory.mktemp("demo"), 3, SCALES["full"])


@pytest.fixture(scope="module")
def every_task(tmp_path_factory: pytest.TempPathFactory) -> DemoData:
    return write_demo(tmp_path_factory.mktemp("demo"), 3, SCALES["full"], every_task=True)


def records(data: DemoData, name: str) -> list[RecordBase]:
    return [located.record for located in RecordReader().read(data.file(name))]


def prompt(record: RecordBase) -> str:
    return re.sub(r"\s+", " ", record.model_dump_json(exclude={"id", "gold", "meta"}).casefold())


def test_every_file_is_read_and_holds_its_tasks(data: DemoData, every_task: DemoData) -> None:
    for written, files in ((data, FILES), (every_task, ALL_FILES)):
        assert {path.stem for path in written.root.glob("data/*.jsonl")} == set(files)
        for name, tasks in files.items():
            assert {record.task for record in records(written, name)} == tasks


def test_both_languages_in_every_file(every_task: DemoData) -> None:
    for name in ALL_FILES:
        chinese = [
            any("\u4e00" <= letter <= "\u9fff" for letter in record.input) for record in records(every_task, name)
        ]
        assert 0.05 < sum(chinese) / len(chinese) < 0.7, name


def test_no_two_files_share_a_prompt(data: DemoData, every_task: DemoData) -> None:
    for written, files in ((data, FILES), (every_task, ALL_FILES)):
        prompts = {name: {prompt(record) for record in records(written, name)} for name in files}
        for first, second in itertools.combinations(prompts, 2):
            assert not prompts[first] & prompts[second], (first, second)


def test_new_databases_are_in_no_training_file(data: DemoData) -> None:
    def schemas(name: str) -> set[str]:
        return {record.schema_text for record in records(data, name) if isinstance(record, SQLRecord)}

    assert not schemas("heldout_new") & (schemas("task_sft") | schemas("grpo_sql"))
    assert schemas("heldout_seen") <= schemas("task_sft")


def test_new_graphs_are_in_no_training_file(every_task: DemoData) -> None:
    def schemas(name: str) -> set[str]:
        return {record.schema_text for record in records(every_task, name) if isinstance(record, CypherRecord)}

    assert len(schemas("heldout_cypher")) == SCALES["full"].new_databases
    assert not schemas("heldout_cypher") & (schemas("task_sft") | schemas("grpo_cypher"))


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


@pytest.mark.parametrize("task", ["function_call", "slot_json"])
def test_gold_has_full_marks_and_a_careless_answer_fewer(task: str) -> None:
    random, reader, tasks, rewards = Random(2), RecordReader(), TaskRegistry(), RewardTable()
    wrong = 0
    for _ in range(200):
        fields: dict = {"id": "0", "task": task}
        if task == "function_call":
            tool = make_tool(random)
            asked = request(tool, random)
            fields |= {"input": asked.text, "tools": [tool.spec], "gold": asked.calls}
            careless_gold: object = asked.careless
        else:
            form = make_form(random)
            said = utter(form, random)
            fields |= {"input": said.text, "slots": form.schema, "gold": said.slots}
            careless_gold = said.careless
        record, guess = reader.parse(fields), reader.parse(fields | {"gold": careless_gold})
        task_of = tasks.verified(task)
        right, careless_verdict = (task_of.verify(record, task_of.target(item)) for item in (record, guess))
        assert set(right.checks.values()) == {1.0}
        best, reward = rewards.reward(record, right), rewards.reward(record, careless_verdict)
        assert best is not None
        assert reward is not None
        assert reward <= best  # as good where nothing is named by another word and what is left out is the default
        wrong += reward < best
    assert wrong > 150


def test_calls_leave_out_what_may_be_left_out_and_no_more(every_task: DemoData) -> None:
    kinds = {"none fits": 0, "default may be left out": 0, "number": 0}
    for record in records(every_task, "grpo_fc"):
        assert isinstance(record, FunctionCallRecord)
        kinds["none fits"] += not record.gold
        for call, accept in zip(record.gold or [], record.accept or [], strict=True):
            assert call.arguments.items() <= {name: values[0] for name, values in accept.items()}.items() or (
                "" in accept["order"]
            )
            kinds["default may be left out"] += "" in accept.get("order", [])
            kinds["number"] += any(isinstance(value, int) for value in call.arguments.values())
    assert min(kinds.values()) > 100, kinds


def test_slots_of_a_form_lie_in_its_schema_and_some_are_left_open(every_task: DemoData) -> None:
    given = []
    for record in records(every_task, "grpo_slot"):
        assert isinstance(record, SlotRecord)
        assert record.gold is not None
        assert record.gold.keys() <= record.slots["properties"].keys()
        assert all(str(value) in record.input for value in record.gold.values())
        given.append(len(record.gold))
    assert set(given) == {1, 2, 3}


def arrows(query: str) -> set[str]:
    """The relationships of a query as a schema writes them, from source to target."""
    found = re.findall(r"\(a:(\w+)\)(<?)-\[:(\w+)\]-(>?)\(b:(\w+)\)", query)
    return {
        f"(:{second})-[:{name}]->(:{first})" if left else f"(:{first})-[:{name}]->(:{second})"
        for first, left, name, _, second in found
    }


def test_cypher_follows_the_schemas_directions_and_a_careless_query_does_not() -> None:
    random, wrong = Random(4), {"along": 0, "against": 0}
    for kind in wrong:
        for _ in range(60):
            graph = make_graph(random)
            question = ask_graph(graph, random, kind)
            assert arrows(question.sql) <= set(graph.schema.splitlines())
            careless_query = careless_cypher(graph, question)
            assert "<-" not in careless_query
            wrong[kind] += not arrows(careless_query) <= set(graph.schema.splitlines())
    assert wrong["against"] == 60
    assert wrong["along"] < 60


def test_graph_questions_of_every_kind_name_what_the_query_needs() -> None:
    random = Random(5)
    for kind in GRAPH_KINDS:
        for _ in range(50):
            graph = make_graph(random)
            question = ask_graph(graph, random, kind)
            words = set(question.text.split())
            for item in [item for node in graph.nodes for item in (node, *node.columns)]:
                if re.search(rf"\b{item.name}\b", question.sql):
                    assert words & {*item.concept.names, item.concept.chinese}, (question, item)


def test_golds_of_the_tiny_demo_pass_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = write_demo(tmp_path, 0, SCALES["tiny"], every_task=True)
    files = [str(path) for path in sorted(tiny.root.glob("data/*.jsonl"))]
    assert main(["check", *files, "--databases", str(tiny.databases)]) == 0
    assert "0 faults, 0 notes" in capsys.readouterr().out
