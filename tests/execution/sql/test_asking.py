"""Schema, EXPLAIN and results of databases, the same from DuckDB and from a real Postgres."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from qwen_lightning.errors import DataError, ExecutionError, QueryError
from qwen_lightning.execution.base import Limits, QueryExecutor, QueryJob, QueryOutcome
from qwen_lightning.execution.sql.ddl import read_schema
from qwen_lightning.execution.sql.executors import DuckDBExecutor, PostgresExecutor
from tests.execution.sql.cases import DATABASES, ddl, read_cases

# A query on `shop`, and its columns and rows on both engines.
RESULTS = [
    ("SELECT name, signup_date, vip FROM customers WHERE id = 1", ["name", "signup_date", "vip"],
     [["Ada Berg", "2021-03-04", True]]),
    ("SELECT count(*), sum(price) FROM products WHERE id < 0", ["count", "sum"], [[0, None]]),
    ("SELECT id + 9007199254740990 AS near, id FROM orders ORDER BY id LIMIT 3", None, None),
    ("SELECT price, price + 0.00000000000000001 AS exact FROM products ORDER BY id LIMIT 1", None, None),
    ("SELECT tags FROM customers WHERE id IN (1, 3) ORDER BY id", ["tags"], [[["books", "tea"]], [None]]),
    ("SELECT email, email FROM customers WHERE id = 1", ["email", "email"], [["ada@example.org", "ada@example.org"]]),
    ("SELECT max(ordered_at) - max(ordered_at) AS none, 'NaN'::float8 AS odd FROM orders", ["none", "odd"],
     [["PT0S", "NaN"]]),
]  # fmt: skip


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def executor(request: pytest.FixtureRequest) -> Iterator[QueryExecutor]:
    if request.param == "duckdb":
        made: QueryExecutor = DuckDBExecutor(DATABASES, workers=1, timeout_s=0.8)
    else:
        pytest.importorskip("psycopg")
        made = PostgresExecutor(request.getfixturevalue("postgres").reader, workers=1, timeout_s=0.8)
    yield made
    made.close()


def test_schema_is_that_of_the_file(executor: QueryExecutor) -> None:
    assert {"clinic", "school", "shop"} <= set(executor.database_names())
    for name in ("clinic", "shop"):
        told, written = read_schema(executor.describe(name)), read_schema(ddl(name))
        assert told.tables.keys() == written.tables.keys()
        assert told.views.keys() == written.views.keys()
        for table in told.tables.values():
            assert table.columns == written.tables[table.name].columns
            assert table.primary == written.tables[table.name].primary
            assert {key.target for key in table.foreign} == {key.target for key in written.tables[table.name].foreign}
        assert "INSERT" not in executor.describe(name)


@pytest.mark.parametrize(("query", "columns", "rows"), [case for case in RESULTS if case[1]])
def test_results(executor: QueryExecutor, query: str, columns: list[str], rows: list[list]) -> None:
    table = executor.run("shop", query)
    assert (list(table.columns), table.rows, table.truncated) == (columns, rows, False)
    assert 0 <= table.seconds < 60


def test_numbers_that_a_double_cannot_hold_are_text(executor: QueryExecutor) -> None:
    (row,) = executor.run("shop", "SELECT 9007199254740991, 9007199254740993, 0.1, 0.12345678901234567890").rows
    assert row == [9007199254740991, "9007199254740993", 0.1, "0.12345678901234567890"]
    assert isinstance(row[0], int)


def test_the_clock_is_not_the_judges(executor: QueryExecutor) -> None:
    def now() -> str:
        return executor.run("shop", "SELECT now() AS now").rows[0][0]

    first = now()
    end = time.monotonic() + 30
    while now() == first:  # whole seconds, or finer
        assert time.monotonic() < end


def test_good_queries_are_accepted_and_faulty_ones_are_not(executor: QueryExecutor) -> None:
    for case in read_cases("good_queries.sql")[::5]:
        said = executor.explain(case.database, case.query)
        assert said.accepted is not False, (case.query, said.detail)
        assert said.accepted or isinstance(executor, DuckDBExecutor), (case.query, said.detail)
    for case in read_cases("faulty_queries.sql", "shop")[::9]:
        said = executor.explain(case.database, case.query)
        assert said.accepted is False, case.query
        assert said.detail


def test_what_explain_refuses_is_not_run(executor: QueryExecutor) -> None:
    refused = 0
    for case in read_cases("hostile.sql", "shop")[::4]:
        said = executor.explain("shop", case.query)
        try:
            table = executor.run("shop", case.query, Limits(50, 10_000))
        except QueryError as error:
            assert str(error)  # noqa: PT017  one that is accepted may be slow or too large
            refused += said.accepted is False
        else:  # what is harmless may run
            assert said.accepted is not False, case.query
            assert len(table.rows) <= 50
    assert refused >= 10
    assert executor.run("shop", "SELECT count(*) FROM customers").rows == [[6]]


def test_explain_does_not_run_the_query(executor: QueryExecutor) -> None:
    endless = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b, customers"
    assert executor.explain("shop", endless).accepted
    with pytest.raises(QueryError, match=r"time limit|limit of 0.8 s"):
        executor.run("shop", endless)


def test_results_end_at_their_limits(executor: QueryExecutor) -> None:
    query = "SELECT a.id, b.name FROM orders a, customers b, customers c ORDER BY 1, 2"
    whole = executor.run("shop", query)
    some = executor.run("shop", query, Limits(7, 1_000_000))
    assert (some.rows, some.truncated) == (whole.rows[:7], True)
    small = executor.run("shop", query, Limits(1000, 200))
    assert 0 < len(small.rows) < len(whole.rows)
    assert small.truncated
    assert not executor.run("shop", query, Limits(len(whole.rows), 1_000_000)).truncated
    with pytest.raises(QueryError, match="first row is"):
        executor.run("shop", "SELECT repeat(name, 1000) FROM customers", Limits(10, 2000))


def test_unknown_database(executor: QueryExecutor) -> None:
    with pytest.raises(DataError, match="nowhere"):
        executor.run("nowhere", "SELECT 1")


def test_view_and_folded_names(executor: QueryExecutor) -> None:
    table = executor.run("clinic", 'SELECT "patientId", minutes FROM long_visit ORDER BY minutes DESC LIMIT 1')
    assert (table.columns, table.rows) == (("patientId", "minutes"), [[2, 45]])


def test_duckdb_file_is_described(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "pets.duckdb")) as connection:
        connection.execute(
            'CREATE TABLE pet ("Id" INT PRIMARY KEY, "order" VARCHAR, weight DECIMAL(6,2), tags VARCHAR[], raw BLOB)'
        )
        connection.execute("INSERT INTO pet VALUES (1, 'cat', 4.50, ['a', NULL], '\\x00\\xFF'::BLOB)")
    executor = DuckDBExecutor(tmp_path, workers=1)
    try:
        assert executor.database_names() == ["pets"]
        schema = executor.describe("pets")
        assert '"order" TEXT, weight NUMERIC(6,2), tags TEXT[]' in schema
        table = executor.run("pets", 'SELECT "Id", "order", weight, tags, raw FROM pet')
        assert table.rows == [[1, "cat", 4.5, ["a", None], "\\x00ff"]]
        assert executor.explain("pets", "SELECT id FROM pet").accepted is False
    finally:
        executor.close()


def test_executor_that_only_judges_still_does_and_says_what_it_lacks() -> None:
    class Judging(QueryExecutor):
        def judge(self, job: QueryJob) -> QueryOutcome:
            return QueryOutcome(True)

        def has_database(self, name: str) -> bool:
            return True

        def close(self) -> None:
            pass

    executor = Judging()
    assert executor.judge(QueryJob("SELECT 1", "", "postgres")).parses
    for ask in (executor.database_names, lambda: executor.describe("a"), lambda: executor.run("a", "SELECT 1"),
                lambda: executor.explain("a", "SELECT 1")):  # fmt: skip
        with pytest.raises(ExecutionError, match=r"Judging has no method .* cannot be served"):
            ask()
