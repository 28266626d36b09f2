"""`route` and the server send a request the same way, whatever it is."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.commands.workbench import load_planner
from qwen_lightning.errors import RequestError
from qwen_lightning.serving.requests import read_request
from qwen_lightning.tasks.registry import TaskRegistry
from tests.serving.live import Running, Serve
from tools.demo.tiny import TinyDemo
from tools.make_requests import ask
from tools.soak.questions import read_records

COUNT = 1000
FILES = ("task_sft", "task_regression", "general_sft", "general_regression", "persona_sft", "grpo_sql")
#: What `model` names: mostly nothing, now and then an adapter, the bare backbone, or what there is not.
MODELS = (None, None, None, None, None, "sql", "fc", "base", "gpt-4", "Qwen3-8B")
FIRST = ("", "", "", "", "", "[SQL]\n", "[TASK=TEXT2SQL]\n", "[TASK=NOTHING]\n")


@pytest.fixture(scope="module")
def requests(demo: TinyDemo) -> list[dict[str, Any]]:
    """Unlike requests of all layouts and all tasks, some with a model or a task tag."""
    records = read_records(TaskRegistry(), [demo.file(name) for name in FILES], seed=0)
    random, found = Random(0), dict[str, dict[str, Any]]()
    for record in cycle(records):
        asked = list(ask(record))
        if not asked:
            continue
        request = random.choice(asked).request
        first, *rest = request["messages"]
        tagged = {**first, "content": random.choice(FIRST) + first["content"]}
        model = random.choice(MODELS)
        named = {} if model is None else {"model": model}
        request = {**request, "messages": [tagged, *rest], **named, "max_tokens": 1}
        found[json.dumps(request)] = request
        if len(found) == COUNT:
            return list(found.values())
    raise AssertionError("there is no record")


def answer(server: Running, requests: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Each request's decision, by headers and body; a refusal's message."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    found = []
    for request in requests:
        connection.request("POST", "/v1/chat/completions", json.dumps(request), {"Content-Type": "application/json"})
        got = connection.getresponse()
        body = json.loads(got.read())
        if got.status != 200:
            assert got.status in (400, 404), body
            found.append({"refused": body["error"]["message"]})
            continue
        said = body["routing"]
        headers = {name: unquote(got.headers[f"x-{name}"]) for name in ("adapter", "task", "routing-reason")}
        assert headers == {"adapter": said["adapter"], "task": said["task"], "routing-reason": said["reason"][:400]}
        assert body["model"] == said["adapter"]
        found.append(said)
    connection.close()
    return found


def test_route_and_server_agree_on_a_thousand_requests(
    serve: Serve, adapters: Path, requests: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server, clients = serve(), 8
    with ThreadPoolExecutor(clients) as pool:
        shares = pool.map(lambda first: answer(server, requests[first::clients]), range(clients))
        answered: list[dict[str, str]] = [{}] * COUNT
        for first, share in enumerate(shares):
            answered[first::clients] = share

    # The decision as the command makes it, short of its imports: a thousand calls of it would take minutes.
    planner, path = load_planner([], str(adapters)), tmp_path / "request.json"
    routed = []
    for request in requests:
        path.write_text(json.dumps(request, ensure_ascii=False), "utf-8")
        try:
            routed.append(asdict(planner.plan(read_request(path)).decision))
        except RequestError as error:
            routed.append({"refused": str(error)})
    planner.tasks.close()
    unlike = [pair for pair in zip(requests, answered, routed, strict=True) if pair[1] != pair[2]]
    assert not unlike, f"{len(unlike)} of {COUNT}, such as {unlike[0]}"

    # Nothing of this shows anything unless the requests go everywhere.
    tasks = Counter(said.get("task", "refused") for said in answered)
    assert all(tasks[name] >= 30 for name in ("text2sql", "text2cypher", "slot_json", "function_call", "general"))
    assert tasks["intent_rewrite"] >= 30
    assert tasks["refused"] >= 30
    assert {said["adapter"] for said in answered if "adapter" in said} == {"sql", "fc", "slot", "base"}

    # And the command itself, on one of each kind.
    for kind in tasks:
        index = next(index for index, said in enumerate(answered) if said.get("task", "refused") == kind)
        path.write_text(json.dumps(requests[index], ensure_ascii=False), "utf-8")
        code = main(["route", "--request", str(path), "--adapters", str(adapters)])
        out, err = capsys.readouterr()
        if kind == "refused":
            assert code == 2
            assert answered[index]["refused"].partition(": ")[2] in err
        else:
            assert (code, json.loads(out)) == (0, answered[index])
