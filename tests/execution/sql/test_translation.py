"""The translation to DuckDB gives the rows that Postgres gives."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from qwen_lightning.execution.same_result import same_result
from qwen_lightning.execution.sql.analysis import analyse
from qwen_lightning.execution.sql.duckdb_engine import DuckDBEngine
from qwen_lightning.execution.sql.engine import Runnable
from tests.execution.sql.cases import DATABASES, ddl, read_cases

# Equal on either engine, but shown differently: clocks, money, whole rows, and intervals, whose months become days.
SHOWN_DIFFERENTLY = (
    "random()",
    "now()",
    "sum(fee)",
    "SELECT c FROM",
    "age(",
    "interval '1 year 2 months'",
    "SELECT c.*",
)


@pytest.fixture(scope="module")
def engine() -> DuckDBEngine:
    return DuckDBEngine(DATABASES, variants=1)


def runnable(query: str, database: str) -> Runnable:
    analysis = analyse(query, ddl(database), "postgres")
    assert analysis.parsed is not None, analysis.detail
    return Runnable(analysis.parsed, analysis.calls, analysis.dependent)


def test_rows_equal_postgres(postgres: Any, engine: DuckDBEngine) -> None:
    import psycopg

    compared, different = 0, []
    for case in read_cases("good_queries.sql"):
        if any(mark in case.query for mark in SHOWN_DIFFERENTLY):
            continue
        found = engine.run(engine.variants(case.database)[0], runnable(case.query, case.database))
        if found.gap:
            continue
        assert not found.fault, (case.query, found.fault)
        with psycopg.connect(postgres.superuser, dbname=case.database, options="-c TimeZone=UTC") as connection:
            rows = connection.execute(case.query.rstrip(";").encode()).fetchall()
        compared += 1
        if not same_result(rows, found.rows):
            different.append((case.query, rows[:3], found.rows[:3]))
    assert not different
    assert compared > 150


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT 7 / 2, 7 / 2.0, sum(customer_id::bigint) / 2 FROM orders", (3, 3.5, 8.5)),
        ("SELECT extract(month FROM max(ordered_at)) / 8 FROM orders", (0.5,)),
        ("SELECT to_char(date '2023-05-09', 'Month|MON|FMDD|Q|IW')", ("May      |MAY|9|2|19",)),
        ("SELECT round(2.5::float), round(2.5), round(-3.5::float)", (2.0, 3, -4.0)),
        ("SELECT 'abc' SIMILAR TO '(a|b)%', 'a.c' SIMILAR TO 'a.c', 'abc' SIMILAR TO 'a.c'", (True, True, False)),
        ("SELECT extract(year FROM age(date '2020-02-29', date '2000-03-01'))", (19,)),
        ("SELECT age(timestamp '2023-03-01', timestamp '2023-02-01') = interval '1 month'", (True,)),
        (
            "SELECT date_trunc('month', date '2023-05-09') - date_trunc('month', date '2023-04-09')",
            (datetime.timedelta(days=30),),
        ),
        (
            "SELECT string_agg(coalesce(discount::text, '-'), ',' ORDER BY discount DESC) FROM orders WHERE id < 102",
            ("-,0.10",),
        ),
    ],
)
def test_semantics(engine: DuckDBEngine, query: str, expected: tuple[Any, ...]) -> None:
    found = engine.run(engine.variants("shop")[0], runnable(query, "shop"))
    assert not found.gap
    assert not found.fault
    assert same_result([expected], found.rows), found.rows


def test_explicit_null_order_is_kept(engine: DuckDBEngine) -> None:
    original = engine.variants("shop")[0]
    for order, first in (("DESC", None), ("DESC NULLS LAST", "0.20"), ("ASC", "0.05"), ("ASC NULLS FIRST", None)):
        found = engine.run(
            original, runnable(f"SELECT discount::text FROM orders ORDER BY discount {order} LIMIT 1", "shop")
        )
        assert found.rows == [(first,)], order
        ranked = engine.run(
            original,
            runnable(
                "SELECT discount::text FROM "
                f"(SELECT discount, rank() OVER (ORDER BY discount {order}) r FROM orders) x WHERE r = 1",
                "shop",
            ),
        )
        assert ranked.rows[0] == (first,), order
