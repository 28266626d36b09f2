"""A database that is slow or silent holds up those alone who ask it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from qwen_lightning.commands.workbench import load_planner
from qwen_lightning.errors import ExecutionError
from qwen_lightning.execution.base import SHOWN, Explanation, Limits, QueryExecutor, QueryJob, QueryOutcome, QueryTable
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.serving.checking import AnswerChecker
from qwen_lightning.serving.http.api import HTTPSettings
from qwen_lightning.serving.query_threads import QueryThreads
from qwen_lightning.serving.routing.planning import Planner
from qwen_lightning.serving.service import ChatService
from qwen_lightning.tasks.registry import TaskRegistry
from tests.serving.conftest import MakeEngine
from tests.serving.live import SQL, Running, script, until, user

QUERY = "SELECT count(*) FROM boats"


class Gated(QueryExecutor):
    """An executor of one's own; each of its actions waits at a gate."""

    def __init__(self) -> None:
        self.gates = {name: threading.Event() for name in ("find", "explain", "run")}
        self.came, self.reachable = Counter[str](), True
        for gate in self.gates.values():
            gate.set()

    def _pass(self, name: str) -> None:
        self.came[name] += 1
        assert self.gates[name].wait(30)

    def judge(self, job: QueryJob) -> QueryOutcome:
        return QueryOutcome(True, references=True, dialect=True)

    def has_database(self, name: str) -> bool:
        self._pass("find")
        if not self.reachable:
            raise ExecutionError("the server of boats cannot be reached")
        return name == "harbour"

    def database_names(self) -> list[str]:
        return ["harbour"]

    def describe(self, database: str) -> str:
        return "CREATE TABLE boats (id INT);"

    def explain(self, database: str, query: str) -> Explanation:
        self._pass("explain")
        return Explanation(True)

    def run(self, database: str, query: str, limits: Limits = SHOWN) -> QueryTable:
        self._pass("run")
        return QueryTable(("n",), [[1]], False, 0.0)

    def close(self) -> None:
        pass


@pytest.fixture
def gated() -> Gated:
    return Gated()


Begin = Callable[..., Running]


@pytest.fixture
def begin(make_engine: MakeEngine, adapters: Path, renderer: ChatRenderer, gated: Gated) -> Iterator[Begin]:
    made: list[Running] = []

    def start(queries: QueryThreads, says: list[str]) -> Running:
        engine, router = make_engine(), load_planner([], str(adapters)).router
        script(engine, renderer, says)
        planner = Planner(TaskRegistry(sql=gated), router)
        checker = AnswerChecker(planner.tasks, verify=True)
        made.append(Running(ChatService(engine, planner, renderer, checker, None, queries), HTTPSettings(), 0.0))
        return made[-1]

    yield start
    for gate in gated.gates.values():
        gate.set()
    for running in made:
        running.close()


def ask(server: Running) -> int:
    body = {"database": "harbour", "language": "sql", "query": QUERY}
    return server.post(json.dumps(body).encode(), "/v1/query")[0]


def chat(server: Running, text: str = SQL, **more: object) -> openai.types.chat.ChatCompletion:
    with server.client(timeout=20) as client:
        return client.chat.completions.create(model="auto", messages=user(text), max_tokens=40, **more)


NAMED = {"metadata": {"database": "harbour"}}


def test_a_verdict_waits_behind_no_query(begin: Begin, gated: Gated) -> None:
    server = begin(QueryThreads(running=1, waiting=2), [QUERY])
    gated.gates["run"].clear()
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(ask, server) for _ in range(3)]
        try:
            until(lambda: server.service.queries._under_way == 3)
            assert chat(server, **NAMED).choices[0].verdict["passed"] is True
            assert not any(each.done() for each in slow)
            assert ask(server) == 429
        finally:
            gated.gates["run"].set()
        assert [each.result() for each in slow] == [200] * 3


def test_a_verdict_is_not_waited_for_for_ever(begin: Begin, gated: Gated) -> None:
    server = begin(QueryThreads(seconds=0.5), [QUERY])
    gated.gates["explain"].clear()
    verdict = chat(server, **NAMED).choices[0].verdict
    assert gated.came["explain"] == 1
    assert (verdict["passed"], verdict["detail"]) == (True, "not known within 0.5 s")


def test_a_silent_server_holds_up_nobody_else_and_is_not_tried_again_at_once(begin: Begin, gated: Gated) -> None:
    server = begin(QueryThreads(), ["Good day."])
    gated.gates["find"].clear()
    gated.reachable = False

    def refused() -> str:
        with pytest.raises(openai.InternalServerError, match="cannot be reached") as error:
            chat(server, **NAMED)
        return error.value.message

    with ThreadPoolExecutor(2) as pool:
        silent = [pool.submit(refused) for _ in range(2)]
        try:
            until(lambda: gated.came["find"] == 1)
            assert chat(server, "Hello.").choices[0].message.content == "Good day."
            assert not any(each.done() for each in silent)
        finally:
            gated.gates["find"].set()
        for each in silent:
            each.result()
    refused()
    assert gated.came["find"] == 1


def test_who_looks_for_a_database_holds_up_no_verdict() -> None:
    threads, gate, came = QueryThreads(running=2), threading.Event(), threading.Semaphore(0)

    def silent() -> None:
        came.release()
        assert gate.wait(30)

    async def ask() -> str:
        looking = [asyncio.create_task(threads.find(silent)) for _ in range(5)]
        await asyncio.to_thread(came.acquire)
        said = await threads.need(lambda: "verdict")
        assert not any(task.done() for task in looking)
        gate.set()
        await asyncio.gather(*looking)
        return said

    try:
        assert asyncio.run(ask()) == "verdict"
    finally:
        gate.set()
        threads.close()
