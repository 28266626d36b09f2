import json
import subprocess
import sys

import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.commands.workbench import load_planner
from tests.conftest import REPOSITORY

DDL = "CREATE TABLE boats (id INT, name TEXT);"


@pytest.fixture
def write(tmp_path):
    def write(content, name="request.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)

    return write


def user(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


def route(capsys, *arguments):
    assert main(["route", *arguments]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert out.count("\n") == 1
    return json.loads(out)


def test_it_prints_adapter_task_and_reason_and_nothing_else(capsys, write):
    decision = route(capsys, "--request", write(user(f"{DDL}\nHow many boats?", model="auto")))
    assert list(decision) == ["adapter", "task", "reason"]
    assert (decision["adapter"], decision["task"]) == ("sql", "text2sql")
    assert decision["reason"].endswith("; prompt as in training: schema and question found apart, dialect postgres")


def test_chat_is_persona_where_that_adapter_is_there(capsys, write, tmp_path):
    request = write(user("Name a bird."))
    assert route(capsys, "--request", request)["task"] == "persona"
    folder = tmp_path / "adapters" / "base-sft"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    decision = route(capsys, "--request", request, "--adapters", str(folder.parent))
    assert (decision["adapter"], decision["task"]) == ("base-sft", "general")


def test_rules_of_a_config_the_later_file_wins(capsys, write):
    request = write(user("Ahoy, name a bird."))
    first = write(
        "model: {class_path: NotLookedAt}\n"
        "router:\n"
        "  class_path: RuleRouter\n"
        "  init_args:\n"
        "    available: [base-sft, slot]\n"
        "    wording: {pirate: ['\\bahoy\\b']}\n"
        "    rules:\n"
        "      - {task: slot_json, when: [pirate]}\n",
        "first.yaml",
    )
    decision = route(capsys, "--request", request, "-c", first)
    assert (decision["adapter"], decision["task"]) == ("slot", "slot_json")
    second = write("router: {init_args: {available: [base-sft]}}", "second.yaml")
    decision = route(capsys, "--request", request, "-c", first, "-c", second)
    assert decision["adapter"] == "base-sft"
    assert "the adapter slot is not there, base-sft stands in" in decision["reason"]


def test_the_shipped_config_says_what_holds_without_it():
    shipped, without = load_planner([REPOSITORY / "configs/serving/serve.yaml"]), load_planner()
    assert vars(shipped.router) == vars(without.router)
    assert shipped.systems == without.systems == {}
    demo = load_planner([REPOSITORY / "configs/serving/serve.yaml", REPOSITORY / "configs/demo/serve.yaml"])
    assert list(demo.systems) == ["persona"]


def test_a_router_of_ones_own(capsys, write, tmp_path, monkeypatch):
    (tmp_path / "my_router.py").write_text(
        "from qwen_lightning.serving.routing.router import Decision, Router\n"
        "class Always(Router):\n"
        "    def __init__(self, adapter: str):\n"
        "        self.adapter = adapter\n"
        "    def route(self, request, signals, tasks):\n"
        "        return Decision(self.adapter, 'general', 'always')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = write("router: {class_path: my_router.Always, init_args: {adapter: mine}}", "mine.yaml")
    decision = route(capsys, "--request", write(user("Hello")), "-c", config)
    assert decision == {"adapter": "mine", "task": "general", "reason": "always; messages kept"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "not JSON"),
        ([], "a chat request is a JSON object, not list"),
        ({}, "messages: is missing"),
        (user(3), "messages.0.content: "),
        (user("Hello", model="gpt-4o"), "model: unknown model 'gpt-4o'; name an adapter (base-sft, fc"),
        (user("[TASK=DANCE]\nHello"), "messages.0.content: unknown task tag 'DANCE'"),
        (
            user(
                "Hi",
                response_format={"type": "json_schema", "json_schema": {"schema": {"properties": {"a": {"type": 3}}}}},
            ),
            "response_format.json_schema.schema: slot_json record",
        ),
        (user("Hi", tools=[{"type": "function", "function": {"name": "a", "parameters": {"type": "no"}}}]), "tools: "),
    ],
)
def test_a_fault_is_one_line_that_names_file_and_field(capsys, write, content, fault):
    path = write(content)
    assert main(["route", "--request", path]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"{path}: {fault}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ("router: {init_args: {availible: []}}", "availible"),
        ("router: {init_args: {rules: [{task: text2sql, when: [dll]}]}}", "unknown signal 'dll'"),
        ("router: {class_path: NoSuchRouter}", "NoSuchRouter"),
    ],
)
def test_a_config_that_cannot_be_meant(capsys, write, config, fault):
    assert main(["route", "--request", write(user("Hello")), "-c", write(config, "bad.yaml")]) == 2
    err = capsys.readouterr().err
    assert fault in err
    assert err.count("\n") == 1


def test_a_folder_without_adapters(capsys, write, tmp_path):
    for folder, fault in ((tmp_path / "none", "no such folder"), (tmp_path, "no adapter in it")):
        assert main(["route", "--request", write(user("Hello")), "--adapters", str(folder)]) == 2
        assert fault in capsys.readouterr().err


def test_route_imports_no_torch(write):
    path = write(user(f"{DDL}\nHow many boats?"))
    code = (
        "import sys\nfrom qwen_lightning.__main__ import main\n"
        f"assert main(['route', '--request', {path!r}]) == 0\n"
        "loaded = {'torch', 'lightning', 'transformers', 'peft'} & set(sys.modules)\nassert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
