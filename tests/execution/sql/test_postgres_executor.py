"""The same verdicts from a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.errors import DataError, ExecutionError
from qwen_lightning.execution.base import Limits, QueryJob
from qwen_lightning.execution.sql.executors import PostgresExecutor
from tests.execution.sql.cases import DATABASES, ddl, read_cases

psycopg = pytest.importorskip("psycopg")
COUNT = "SELECT count(*) FROM customers"


@pytest.fixture(scope="module")
def executor(postgres: Any) -> Iterator[PostgresExecutor]:
    made = PostgresExecutor(postgres.reader, DATABASES, postgres.scratch, workers=1, timeout_s=0.8)
    yield made
    made.close()


def job(query: str, gold: str | None = COUNT, database: str = "shop") -> QueryJob:
    return QueryJob(query, ddl(database), "postgres", gold=gold, database=database)


def test_good_queries_match_themselves_without_gaps(executor: PostgresExecutor) -> None:
    for case in read_cases("good_queries.sql"):
        outcome = executor.judge(job(case.query, case.query, case.database))
        assert outcome.executes, (case.query, outcome.detail)
        assert outcome.match or "empty on all" in outcome.detail, (case.query, outcome.detail)
        assert not outcome.gap


def test_rewrites_match_and_cheats_do_not(executor: PostgresExecutor) -> None:
    for case in read_cases("rewrites.sql"):
        outcome = executor.judge(job(case.query, case.gold, case.database))
        assert outcome.match, (case.query, outcome.detail)
        assert outcome.variants >= 1
    for case in read_cases("cheats.sql"):
        assert executor.judge(job(case.query, case.gold, case.database)).match is False, case.query


def test_hostile_completions_are_verdicts(executor: PostgresExecutor, postgres: Any) -> None:
    for case in read_cases("hostile.sql", "shop"):
        assert executor.judge(job(case.query)).match is False, case.query
    with psycopg.connect(postgres.superuser, dbname="shop") as connection:
        assert connection.execute(COUNT).fetchone() == (6,)
    assert executor.judge(job(COUNT)).match


def test_single_variant_is_said(postgres: Any) -> None:
    made = PostgresExecutor(postgres.reader, workers=1)
    try:
        outcome = made.judge(job(COUNT))
        assert outcome.match
        assert outcome.variants == 1
        assert "single variant" in outcome.detail
        assert made.has_database("shop")
        assert not made.has_database("nowhere")
        with pytest.raises(DataError, match="nowhere"):
            made.judge(QueryJob(COUNT, ddl("shop"), "postgres", gold=COUNT, database="nowhere"))
    finally:
        made.close()


def test_superuser_is_refused(postgres: Any) -> None:
    made = PostgresExecutor(postgres.superuser, workers=1)
    try:
        with pytest.raises(ExecutionError, match="superuser"):
            made.judge(job(COUNT))
    finally:
        made.close()


def test_absent_server_says_what_to_do() -> None:
    made = PostgresExecutor("postgresql://nobody@127.0.0.1:1/none", workers=1)
    try:
        with pytest.raises(ExecutionError, match="start the server"):
            made.judge(job(COUNT))
    finally:
        made.close()


def test_variants_are_dropped_at_the_end(postgres: Any) -> None:
    made = PostgresExecutor(postgres.reader, DATABASES, postgres.scratch, workers=1)
    assert made.judge(job(COUNT)).variants >= 3
    made.close()
    again = PostgresExecutor(postgres.reader, DATABASES, postgres.scratch, workers=1)
    assert again.judge(job(COUNT)).match
    again.close()


def test_memory_is_not_spent_on_rows_that_are_cut(postgres: Any) -> None:
    made = PostgresExecutor(postgres.reader, workers=1, timeout_s=20.0)
    try:
        many = "SELECT repeat('x', 1000000) AS x FROM generate_series(1, 600) g, customers WHERE customers.id = 1"
        table = made.run("shop", many, Limits(1000, 2_500_000))
        assert (len(table.rows), table.truncated) == (2, True)
        status = [
            Path(f"/proc/{worker.process.pid}/status").read_text() for worker in made._pool._all if worker.process
        ]
    finally:
        made.close()
    peaks = [int(line.split()[1]) for text in status for line in text.splitlines() if line.startswith("VmHWM")]
    assert peaks
    assert max(peaks) < 500_000  # KiB; 500 rows at once would be more by themselves


def test_values_are_shown_as_the_server_has_them(postgres: Any) -> None:
    made = PostgresExecutor(postgres.reader, workers=1)
    query = (
        "SELECT INTERVAL '1 year', ARRAY[INTERVAL '1 month 2 days'], 'infinity'::timestamp, '-infinity'::date, "
        "'infinity'::timestamptz, CAST('{\"a\": 0.1234567890123456789, \"b\": 0.5}' AS jsonb), '12000-01-01'::date "
        "FROM customers WHERE id = 1"
    )
    parts = "SELECT INTERVAL '-1 year 2 days', -INTERVAL '4 hours 5 seconds 500 milliseconds', INTERVAL '0', "
    parts += "CAST(INTERVAL '3 days' AS text) FROM customers WHERE id = 1"
    try:
        # A query's own casts stay what they are.
        assert made.run("shop", parts).rows == [["P-1Y2D", "PT-4H-5.5S", "PT0S", "3 days"]]
        assert made.run("shop", query).rows == [
            ["P1Y", ["P1M2D"], "infinity", "-infinity", "infinity", {"a": "0.1234567890123456789", "b": 0.5},
             "12000-01-01"]
        ]  # fmt: skip
    finally:
        made.close()


def test_a_lost_connection_is_made_anew(postgres: Any) -> None:
    def end_all() -> None:
        with psycopg.connect(postgres.superuser, autocommit=True) as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'reader'"
            ).fetchall()
        assert ended

    made = PostgresExecutor(postgres.reader, DATABASES, postgres.scratch, workers=2, timeout_s=20.0)
    asks = (
        lambda: made.run("shop", COUNT).rows == [[6]],
        lambda: "customers" in made.describe("shop"),
        lambda: made.explain("shop", COUNT).accepted,
        lambda: made.judge(job(COUNT)).match,  # on variants, which are lost with the connection that made them
    )
    try:
        assert all(ask() for ask in asks)
        for ask in (*asks, asks[0]):
            end_all()
            assert ask()
            assert ask()
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(made.run, "shop", "SELECT count(*) FROM generate_series(1, 100000) a, "
                               "generate_series(1, 100000) b, customers")  # fmt: skip
            while not _running(postgres):
                assert not slow.done()
            end_all()
            with pytest.raises(ExecutionError, match="ended the connection"):
                slow.result()
        assert made.run("shop", COUNT).rows == [[6]]
    finally:
        made.close()


def _running(postgres: Any) -> bool:
    with psycopg.connect(postgres.superuser) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' AND query ~ 'series' AND state = 'active'"
        ).fetchone()
    return bool(found and found[0])
