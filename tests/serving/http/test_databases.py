"""Databases through the server: listed, asked, and asked to explain what the model writes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.commands.workbench import load_planner
from qwen_lightning.errors import RequestError
from qwen_lightning.execution.base import QueryExecutor, QueryJob, QueryOutcome
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.serving.checking import AnswerChecker
from qwen_lightning.serving.databases import Databases
from qwen_lightning.serving.http.api import HTTPSettings
from qwen_lightning.serving.query_threads import QueryThreads
from qwen_lightning.serving.service import ChatService
from qwen_lightning.tasks.registry import TaskRegistry
from tests.serving.conftest import MakeEngine
from tests.serving.live import KEY, Running, script, until, user

DDL = "CREATE TABLE boats (id INT, name TEXT, rig TEXT);"
GRAPH = "(:Boat {name: STRING})-[:MOORED_AT]->(:Pier {number: INTEGER})"
ASKED = f"{DDL}\nHow many boats are there?"
SLOW = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b, boats"
WRITTEN = "INSERT INTO boats VALUES (1, 'Tern'), (2, 'Gull'), (3, NULL);"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("databases")
    (folder / "harbour.sql").write_text(f"CREATE TABLE boats (id INT, name TEXT);\n{WRITTEN}\n", encoding="utf-8")
    (folder / "harbour.cypher").write_text("CREATE (:Boat {name: 'Tern'})-[:MOORED_AT]->(:Pier {number: 7});\n")
    (folder / "broken.sql").write_text("CREATE TABLE boats (id INT);\nINSERT INTO boats VALUES ('x');\n")
    return folder


Begin = Callable[..., Running]


@pytest.fixture
def begin(make_engine: MakeEngine, adapters: Path, renderer: ChatRenderer, folder: Path) -> Iterator[Begin]:
    """Servers with the databases; of SQL alone unless a Java machine is worth it."""
    made: list[Running] = []

    def start(
        says: list[str] | None = None,
        cypher: bool = False,
        settings: HTTPSettings | None = None,
        queries: QueryThreads | None = None,
    ) -> Running:
        engine = make_engine()
        if says is not None:
            script(engine, renderer, says)
        config = folder.parent / f"{folder.name}.yaml"
        config.write_text(json.dumps({"tasks": _tasks(folder, cypher)}))
        planner = load_planner([config], str(adapters))
        service = ChatService(engine, planner, renderer, AnswerChecker(planner.tasks, True), None, queries)
        made.append(Running(service, settings, 0.0))
        return made[-1]

    yield start
    for running in made:
        running.close()


def _tasks(folder: Path, cypher: bool) -> dict:
    settings = {"databases": str(folder), "workers": 1}
    executor = {"class_path": "DuckDBExecutor", "init_args": {**settings, "timeout_s": 1.5}}
    graphs = {"class_path": "ArcadeDBExecutor", "init_args": {**settings, "timeout_s": 5.0}}
    return {"sql": executor, "cypher": graphs} if cypher else {"sql": executor}


def ask(server: Running, query: str, database: str = "harbour", language: str = "sql") -> tuple[int, dict]:
    body = {"database": database, "language": language, "query": query}
    return server.post(json.dumps(body).encode(), "/v1/query")[:2]


def test_databases_are_listed_and_asked(begin: Begin) -> None:
    server = begin(cypher=True)
    listed = json.loads(server.get("/v1/databases")[1])
    assert listed["object"] == "list"
    told = {(entry["id"], entry["language"]): entry for entry in listed["data"]}
    assert told["harbour", "sql"] == {
        "id": "harbour",
        "object": "database",
        "language": "sql",
        "schema": "CREATE TABLE boats (id INT, name TEXT);",
    }
    assert told["harbour", "cypher"]["schema"] == (
        "Node properties:\n- **Boat**\n  - `name`: STRING\n- **Pier**\n  - `number`: INTEGER\n"
        "The relationships:\n(:Boat)-[:MOORED_AT]->(:Pier)"
    )
    status, table = ask(server, "SELECT id, name FROM boats ORDER BY id")
    assert (status, table["columns"], table["truncated"]) == (200, ["id", "name"], False)
    assert table["rows"] == [[1, "Tern"], [2, "Gull"], [3, None]]
    assert table["seconds"] >= 0
    status, table = ask(server, "MATCH (b:Boat)-->(p) RETURN b, p.number", language="cypher")
    assert table["rows"] == [[{"labels": ["Boat"], "properties": {"name": "Tern"}}, 7]]
    status, fault = ask(server, "CREATE (:Boat)", language="cypher")
    assert (status, fault["error"]["param"], fault["error"]["code"]) == (400, "query", "query_failed")
    assert "CREATE writes" in fault["error"]["message"]


# A body, and the status, the field and some words of its answer.
REFUSED: list[tuple[object, int, str | None, str]] = [
    ({"database": "harbour", "language": "sql", "query": "SELECT nope FROM boats"}, 400, "query", '"nope" does not'),
    ({"database": "harbour", "language": "sql", "query": "DELETE FROM boats"}, 400, "query", "only SELECT"),
    ({"database": "harbour", "language": "sql", "query": SLOW}, 400, "query", "limit"),
    ({"database": "nowhere", "language": "sql", "query": "SELECT 1"}, 400, "database", "there are broken, harbour"),
    ({"database": "../harbour", "language": "sql", "query": "SELECT 1"}, 400, "database", "no database"),
    ({"database": "harbour", "language": "cypher", "query": "RETURN 1"}, 400, "database", "--databases names"),
    ({"database": "harbour", "language": "sparql", "query": "x"}, 400, "language", "'sql' or 'cypher'"),
    ({"database": "harbour", "language": "sql"}, 400, "query", "missing"),
    ({"database": "broken", "language": "sql", "query": "SELECT id FROM boats"}, 500, None, "cannot insert"),
    ([], 400, None, "a query's request is a JSON object"),
    ("x" * 5000, 413, None, "longer than the 4096"),
]


def test_what_cannot_be_answered_says_why(begin: Begin) -> None:
    server = begin(settings=HTTPSettings(body_bytes=4096))
    for body, status, param, says in REFUSED:
        found, fault, _ = server.post(json.dumps(body).encode(), "/v1/query")
        assert (found, fault["error"]["param"]) == (status, param), body
        assert says in fault["error"]["message"]
    assert ask(server, "SELECT count(*) FROM boats")[1]["rows"] == [[3]]


def test_a_key_guards_databases_too(begin: Begin) -> None:
    server = begin(settings=HTTPSettings((KEY,)))
    assert server.get("/v1/databases")[0] == 401
    assert ask(server, "SELECT 1")[0] == 401
    body = json.dumps({"database": "harbour", "language": "sql", "query": "SELECT 1 AS one"}).encode()
    assert server.post(body, "/v1/query", Authorization=f"Bearer {KEY}")[1]["rows"] == [[1]]


def test_too_many_queries_are_sent_away_and_the_rest_are_answered(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    server = begin(queries=QueryThreads(running=1, waiting=2))
    assert ask(server, "SELECT 1 AS one")[0] == 200
    with caplog.at_level(logging.DEBUG), ThreadPoolExecutor(8) as pool:
        slow = pool.submit(ask, server, SLOW)
        until(lambda: server.service.queries._under_way == 1)
        others = [pool.submit(ask, server, "SELECT count(*) FROM boats") for _ in range(6)]
        found = [other.result() for other in others]
        assert slow.result()[0] == 400
    statuses = sorted(status for status, _ in found)
    assert statuses == [200, 200, 429, 429, 429, 429]
    assert all(body["rows"] == [[3]] for status, body in found if status == 200)
    assert "rate_limit_error" in next(body["error"]["type"] for status, body in found if status == 429)
    assert "boats" not in caplog.text
    metrics = server.get("/metrics")[1]
    assert 'qwen_lightning_queries_total{language="sql",status="429"} 4.0' in metrics


def test_verification_asks_the_database_that_is_named(begin: Begin) -> None:
    wrong, right = "SELECT count(rig) FROM boats", "SELECT count(*) FROM boats"
    server = begin([right, wrong, right, wrong, wrong, right])
    client, named = server.client(), {"database": "harbour"}

    def answer(**more: object) -> openai.types.chat.chat_completion.Choice:
        return client.chat.completions.create(model="auto", messages=user(ASKED), **more).choices[0]

    assert answer(metadata=named).verdict == {"passed": True, "detail": "", "repaired": False}
    # The schema of the request has a column that the database has not: the answer is refused, and asked for once more.
    repaired = answer(metadata=named)
    assert (repaired.message.content, repaired.verdict["repaired"]) == (right, True)
    refused = answer(metadata=named)
    assert refused.verdict["passed"] is False
    assert refused.verdict["detail"].startswith("the database 'harbour' refuses it: column \"rig\" does not exist")
    # Without a database its schema is all that is asked of the answer.
    assert answer().verdict["passed"] is True


def test_a_query_that_fails_when_it_runs_is_not_run(begin: Begin) -> None:
    server = begin([SLOW])
    choice = server.client().chat.completions.create(
        model="sql", messages=user(ASKED), max_tokens=400, metadata={"database": "harbour"}
    )
    assert choice.choices[0].verdict["passed"] is True


def test_unknown_database_of_a_chat_request(
    begin: Begin, folder: Path, adapters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = begin().client()
    with pytest.raises(openai.BadRequestError, match=r"no database 'x' for SQL; there are broken, harbour") as error:
        client.chat.completions.create(model="auto", messages=user(ASKED), metadata={"database": "x"})
    assert error.value.param == "metadata.database"
    with pytest.raises(openai.BadRequestError, match="must be the name"):
        client.chat.completions.create(model="auto", messages=user("Hi"), extra_body={"metadata": {"database": 3}})
    for metadata in ({"database": "harbour"}, {"session": "7"}):  # chat needs none, and may name one
        client.chat.completions.create(model="auto", messages=user("Hi"), max_tokens=2, metadata=metadata)
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"messages": user(ASKED), "metadata": {"database": "x"}}))
    options = ["--request", str(request), "--adapters", str(adapters)]
    assert main(["route", *options, "--databases", str(folder)]) == 2
    assert "metadata.database: there is no database 'x' for SQL; there are broken, harbour" in capsys.readouterr().err
    assert main(["route", *options]) == 2
    assert "there are none" in capsys.readouterr().err
    request.write_text(json.dumps({"messages": user(ASKED), "metadata": {"database": "harbour"}}))
    assert main(["route", *options, "--databases", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["adapter"] == "sql"


def test_server_without_databases(serve: Callable[..., Running]) -> None:
    server = serve()
    assert json.loads(server.get("/v1/databases")[1]) == {"object": "list", "data": []}
    status, fault = ask(server, "SELECT 1")
    assert status == 400
    assert "there are none; --databases names a folder" in fault["error"]["message"]


def test_an_executor_that_only_judges_has_no_databases_to_serve() -> None:
    class Judging(QueryExecutor):
        def judge(self, job: QueryJob) -> QueryOutcome:
            return QueryOutcome(True)

        def has_database(self, name: str) -> bool:
            return True

        def close(self) -> None:
            pass

    databases = Databases(TaskRegistry(sql=Judging()))
    assert databases.names("sql") == []
    with pytest.raises(RequestError, match="there are none"):
        databases.check("harbour", "text2sql")
