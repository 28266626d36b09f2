"""Requests go to their task, and meet the prompt that training made: cases as text, and requests made of records."""

import json
from pathlib import Path

import pytest

from qwen_lightning.serving.requests import parse_request
from qwen_lightning.serving.routing.planning import Planner
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.make_data import SCALES, write_demo
from tools.make_requests import ask, same_prompt

FIXTURES = Path(__file__).parents[2] / "fixtures"
CASES = [json.loads(line) for line in (FIXTURES / "requests" / "cases.jsonl").open(encoding="utf-8")]
WORDINGS = [json.loads(line) for line in (FIXTURES / "requests" / "wordings.jsonl").open(encoding="utf-8")]
PLANNER = Planner(TaskRegistry())
CHAT = ("general", "persona")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['task']}: {case['messages'][-1]['content'][:40]}")
def test_a_case_goes_to_its_task_with_the_prompt_of_training(case):
    plan = PLANNER.plan(parse_request({"model": "auto", "messages": case["messages"]}))
    assert plan.decision.task == ("persona" if case["task"] == "general" else case["task"]), plan.decision
    assert plan.completion.prompt.messages == case.get("prompt", case["messages"])


@pytest.mark.parametrize(
    "case", WORDINGS, ids=lambda case: f"{case['task']}: {case['request']['messages'][-1]['content'][:40]}"
)
def test_a_request_in_a_developer_s_own_words_goes_to_its_task(case):
    """What is asked stands alone in the last message and the schema in the first, where a case names them."""
    plan = PLANNER.plan(parse_request({"model": "auto", **case["request"]}))
    messages = plan.completion.prompt.messages
    assert plan.decision.task == ("persona" if case["task"] == "general" else case["task"]), plan.decision
    assert case.get("asks", messages[-1]["content"]) == messages[-1]["content"]
    for part in case.get("schema", ()):
        assert part in messages[0]["content"]


def _fixture_records():
    """Records of our own: DDL with keys, Neo4j's listing, nested and Chinese slots, follow-ups."""
    ddl = (FIXTURES / "sql" / "databases" / "shop.sql").read_text("utf-8").split("INSERT INTO")[0]
    graph = (FIXTURES / "cypher" / "graphs" / "library.schema.txt").read_text("utf-8").strip()
    ddl = ddl[ddl.index("CREATE") :].strip()
    ask_sql = {"task": "text2sql", "schema": ddl, "dialect": "postgres"}
    yield {"id": "s1", "input": "Which city has most customers?", **ask_sql}
    yield {
        "id": "s2",
        "input": "Show the orders, latest first.\nLeave out the cancelled ones.",
        **ask_sql,
    }
    yield {"id": "c1", "task": "text2cypher", "input": 'Who wrote "The Glass Harbour"?', "schema": graph}
    yield {"id": "c2", "task": "text2cypher", "input": "哪些读者借过犯罪小说？", "schema": graph}
    for name in ("slots", "function_call", "rewrites"):
        for line in (FIXTURES / name / "records.jsonl").open(encoding="utf-8"):
            yield json.loads(line)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    data = write_demo(tmp_path_factory.mktemp("requests"), 0, SCALES["tiny"], every_task=True)
    files = ("task_regression", "heldout_new", "heldout_cypher", "heldout_slot", "heldout_fc", "general_regression")
    records = [item.record for name in files for item in PLANNER.tasks.reader.read(data.file(name))]
    records += [PLANNER.tasks.reader.parse(value) for value in _fixture_records()]
    return [request for record in records for request in ask(record)]


def test_requests_made_of_records_go_to_their_task_and_meet_its_prompt(asked):
    wrong, strange, tasks = [], [], set()
    for one in asked:
        plan = PLANNER.plan(parse_request(one.request))
        tasks.add(one.record.task)
        if plan.decision.task not in (CHAT if one.record.task in CHAT else (one.record.task,)):
            wrong.append((one.record.id, one.layout, plan.decision))
        elif one.exact and not same_prompt(plan.completion.prompt, PLANNER.tasks[one.record.task].prompt(one.record)):
            strange.append((one.record.id, one.layout, plan.completion.prompt.messages))
    assert {"text2sql", "text2cypher", "slot_json", "function_call", "intent_rewrite", "general"} <= tasks
    assert len(wrong) <= 0.01 * len(asked), wrong[:3]
    assert len(strange) <= 0.01 * len(asked), strange[:3]


def test_what_was_said_is_never_lost(asked):
    """The record's own input and earlier turns stand in the prompt whole, whatever the layout."""
    for one in asked:
        prompt = PLANNER.plan(parse_request(one.request)).completion.prompt
        said = "\n".join(message["content"] for message in prompt.messages)
        for part in (one.record.input, *(turn.content for turn in one.record.history)):
            assert part.strip() in said, (one.layout, part)


def test_plain_chat_keeps_its_messages_and_gets_the_persona_of_the_config():
    planner = Planner(TaskRegistry(), systems={"persona": "You are a captain."})
    hello = {"role": "user", "content": "Hello"}
    plan = planner.plan(parse_request({"messages": [hello]}))
    assert plan.completion.prompt.messages == [{"role": "system", "content": "You are a captain."}, hello]
    own = {"role": "system", "content": "Be brief."}
    assert planner.plan(parse_request({"messages": [own, hello]})).completion.prompt.messages == [own, hello]


def test_what_a_tool_returned_is_answered_in_chat_with_the_tools_at_hand():
    tool = {"type": "function", "function": {"name": "ring", "description": "", "parameters": {}}}
    call = {"id": "1", "type": "function", "function": {"name": "ring", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Ring!"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "rung"},
    ]
    plan = PLANNER.plan(parse_request({"messages": messages, "tools": [tool]}))
    assert plan.decision.task in CHAT
    assert plan.completion.prompt.tools == [tool]
    assert [message["role"] for message in plan.completion.prompt.messages] == ["user", "assistant", "tool"]
    assert PLANNER.plan(parse_request({"messages": messages[:1], "tools": [tool]})).decision.adapter == "fc"


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE a (b INT, " * 500,
        "CREATE TABLE a (b INT);" + "INSERT INTO a VALUES " * 500,
        "CREATE TABLE a (b INT);\n" + "Write the SQL query. " * 500,
        "CREATE TABLE a (b INT);\n" + "请根据以下数据库" * 1000,
        "sql a(" + "b," * 5000,
        "(:A {" * 5000,
        "(:A)-[:B]->" * 1000,
        "extract json fields " + '{"a":' * 5000,
        "extract the following fields: " + "a, " * 3000,
        "User: a\n" * 2000 + "rewrite the last question so that it stands alone",
        "*" * 20000,
        "a" * 20000,
        " " * 20000 + "a",
        "表" * 20000,
        "graph A -[B]-> " * 1500,
        "extract json from <question>" + "<question>" * 2000,
        "HumanMessage(content='" * 1000,
        "name: str\n" * 2000 + "extract",
    ],
    ids=lambda text: text[:24],
)
def test_texts_that_make_careless_patterns_run_for_ever_are_read(text):
    plan = PLANNER.plan(parse_request({"messages": [{"role": "user", "content": text}]}))
    assert plan.completion.prompt.messages
