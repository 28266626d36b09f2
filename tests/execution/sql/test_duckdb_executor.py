"""Verdicts on DuckDB: golds, other ways to write them, ways to cheat, hostile completions, gaps of the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from qwen_lightning.errors import ConfigError, DataError
from qwen_lightning.execution.base import QueryJob, QueryOutcome
from qwen_lightning.execution.sql.dataset import load_dataset
from qwen_lightning.execution.sql.executors import DuckDBExecutor
from tests.execution.sql.cases import DATABASES, Case, ddl, read_cases

COUNT = "SELECT count(*) FROM customers"


def job(query: str, gold: str | None = COUNT, database: str = "shop") -> QueryJob:
    return QueryJob(query, ddl(database), "postgres", gold=gold, database=database)


def judge_all(executor: DuckDBExecutor, cases: list[Case], gold: str | None = None) -> list[QueryOutcome]:
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda case: executor.judge(job(case.query, case.gold or gold, case.database)), cases))


def test_good_queries_match_themselves(duckdb_executor: DuckDBExecutor) -> None:
    cases = read_cases("good_queries.sql")
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(
            threads.map(lambda case: duckdb_executor.judge(job(case.query, case.query, case.database)), cases)
        )
    gaps = [case.query for case, outcome in zip(cases, outcomes, strict=True) if outcome.gap]
    assert len(gaps) <= 0.12 * len(cases), gaps
    for case, outcome in zip(cases, outcomes, strict=True):
        assert outcome.executes is not False, (case.query, outcome)
        if not outcome.gap and "empty on all" not in outcome.detail:
            assert outcome.match, (case.query, outcome)
            assert outcome.variants >= 1
    assert sum("empty on all" in outcome.detail for outcome in outcomes) <= 2


def test_rewrites_match(duckdb_executor: DuckDBExecutor) -> None:
    cases = read_cases("rewrites.sql")
    wrong = [
        (c.query, o.detail)
        for c, o in zip(cases, judge_all(duckdb_executor, cases), strict=True)
        if o.match is not True
    ]
    assert not wrong


def test_cheats_do_not_match(duckdb_executor: DuckDBExecutor) -> None:
    cases = read_cases("cheats.sql")
    wrong = [c.query for c, o in zip(cases, judge_all(duckdb_executor, cases), strict=True) if o.match is not False]
    assert not wrong


def test_faulty_queries_do_not_execute(duckdb_executor: DuckDBExecutor) -> None:
    cases = read_cases("faulty_queries.sql")
    outcomes = judge_all(duckdb_executor, cases, COUNT)
    for case, outcome in zip(cases, outcomes, strict=True):
        assert outcome.executes is not True, case.query
        assert outcome.match is not True
    assert sum(outcome.executes is None for outcome in outcomes) <= 0.02 * len(cases)


def test_hostile_completions_are_verdicts(duckdb_executor: DuckDBExecutor, tmp_path: Path) -> None:
    cases = read_cases("hostile.sql", "shop")
    for case, outcome in zip(cases, judge_all(duckdb_executor, cases, COUNT), strict=True):
        assert outcome.match is False or outcome.gap, (case.query, outcome)
    assert not list(Path("/tmp").glob("qwen_lightning_hostile*"))
    assert duckdb_executor.judge(job(COUNT)).match
    assert duckdb_executor.judge(job("SELECT count(*) FROM products", "SELECT count(*) FROM products")).match


def test_gap_is_no_fault(duckdb_executor: DuckDBExecutor) -> None:
    outcome = duckdb_executor.judge(
        job("SELECT width_bucket(price, 0, 100, 5) FROM products", "SELECT price FROM products")
    )
    assert outcome.parses
    assert outcome.references
    assert (outcome.executes, outcome.match) == (None, None)
    assert "width_bucket" in outcome.gap


def test_gap_of_the_gold_leaves_match_alone_out(duckdb_executor: DuckDBExecutor) -> None:
    outcome = duckdb_executor.judge(
        job("SELECT price FROM products", "SELECT width_bucket(price, 0, 100, 5) FROM products")
    )
    assert outcome.executes is True
    assert outcome.match is None
    assert outcome.gap


def test_gold_that_is_empty_everywhere_has_no_match(duckdb_executor: DuckDBExecutor) -> None:
    gold = "SELECT name FROM customers WHERE city = 'Oslo' AND city = 'Lund'"
    outcome = duckdb_executor.judge(job(gold, gold))
    assert outcome.match is None
    assert outcome.gap == ""
    assert "empty on all" in outcome.detail


def test_gold_that_does_not_run_is_named(duckdb_executor: DuckDBExecutor) -> None:
    outcome = duckdb_executor.judge(job(COUNT, "SELECT CAST(name AS integer) FROM customers"))
    assert outcome.match is None
    assert "gold does not run" in outcome.detail


def test_without_gold_executes_is_judged(duckdb_executor: DuckDBExecutor) -> None:
    outcome = duckdb_executor.judge(job("SELECT name FROM customers", None))
    assert (outcome.executes, outcome.match) == (True, None)
    outcome = duckdb_executor.judge(job("SELECT CAST(name AS integer) FROM customers", None))
    assert outcome.executes is False


def test_ties_beyond_a_limit_are_free(duckdb_executor: DuckDBExecutor) -> None:
    gold = "SELECT room FROM course ORDER BY CAST(credits AS int) DESC LIMIT 2"
    for query in (
        "SELECT room FROM course ORDER BY CAST(credits AS int) DESC, title LIMIT 2",
        "SELECT room FROM course ORDER BY CAST(credits AS int) DESC, title DESC LIMIT 2",
    ):
        assert duckdb_executor.judge(job(query, gold, "school")).match
    assert (
        duckdb_executor.judge(
            job("SELECT room FROM course ORDER BY CAST(credits AS int) LIMIT 2", gold, "school")
        ).match
        is False
    )


def test_unknown_database_is_a_data_error(duckdb_executor: DuckDBExecutor) -> None:
    assert not duckdb_executor.has_database("../shop")
    assert not duckdb_executor.has_database("nowhere")
    assert duckdb_executor.has_database("shop")
    with pytest.raises(DataError, match="'nowhere' is not in"):
        duckdb_executor.judge(
            QueryJob("SELECT count(*) FROM customers", ddl("shop"), "postgres", gold=COUNT, database="nowhere")
        )


def test_broken_database_file_names_the_statement(tmp_path: Path) -> None:
    (tmp_path / "bad.sql").write_text("CREATE TABLE t (a INTEGER);\nINSERT INTO t VALUES ('x');\n")
    executor = DuckDBExecutor(tmp_path, workers=1)
    try:
        with pytest.raises(DataError, match=r"bad\.sql: cannot insert .* into 't'"):
            executor.judge(QueryJob("SELECT a FROM t", "CREATE TABLE t (a INTEGER)", "postgres", database="bad"))
    finally:
        executor.close()


def test_duckdb_file_is_a_database(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "pets.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE pet (id INTEGER PRIMARY KEY, name VARCHAR, weight DECIMAL(6,2), born DATE, tags VARCHAR[])"
        )
        connection.execute(
            "INSERT INTO pet VALUES (1, 'Rex', 12.5, '2020-01-02', ['a']), (2, 'Tom', 4.25, '2021-03-04', []), "
            "(3, 'Ida', 3, NULL, NULL)"
        )
    schema = "CREATE TABLE pet (id INTEGER PRIMARY KEY, name TEXT, weight NUMERIC(6,2), born DATE, tags TEXT[]);"
    executor = DuckDBExecutor(tmp_path, workers=1)
    try:
        gold = "SELECT name FROM pet WHERE weight > 4 ORDER BY weight DESC"
        assert executor.judge(QueryJob(gold, schema, "postgres", gold=gold, database="pets")).match
        assert (
            executor.judge(
                QueryJob("SELECT name FROM pet WHERE id < 3", schema, "postgres", gold=gold, database="pets")
            ).match
            is False
        )
    finally:
        executor.close()


def test_close_leaves_no_process_and_the_pool_starts_again() -> None:
    executor = DuckDBExecutor(DATABASES, workers=2)
    assert executor.judge(job(COUNT)).match
    processes = [worker.process for worker in executor._pool._all]
    assert all(process is not None and process.poll() is None for process in processes)
    executor.close()
    assert all(process is not None and process.poll() is not None for process in processes)
    assert executor.judge(job(COUNT)).match
    executor.close()


def test_workers_are_recycled() -> None:
    executor = DuckDBExecutor(DATABASES, workers=1, recycle_after=2)
    try:
        seen = set()
        for _ in range(6):
            assert executor.judge(job(COUNT)).match
            seen |= {worker.process.pid for worker in executor._pool._all if worker.process is not None}
        assert len(seen) > 2
    finally:
        executor.close()


def test_workers_end_with_their_parent_and_import_no_torch() -> None:
    program = (
        "import os, sys\n"
        "from tests.execution.sql.test_duckdb_executor import DuckDBExecutor, DATABASES, COUNT, job\n"
        "executor = DuckDBExecutor(DATABASES, workers=1)\n"
        "assert executor.judge(job(COUNT)).match\n"
        "pid = executor._pool._all[0].process.pid\n"
        "assert 'libtorch' not in open(f'/proc/{pid}/maps').read()\n"
        "print(*[worker.process.pid for worker in executor._pool._all])\n"
    )
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[3]))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        DuckDBExecutor(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="at least 1"):
        DuckDBExecutor(tmp_path, workers=0)


def test_mixed_case_names_and_views(duckdb_executor: DuckDBExecutor) -> None:
    gold = 'SELECT p."fullName", count(*) FROM "Patient" p JOIN visit v USING ("patientId") GROUP BY p."patientId"'
    count = '(SELECT count(*) FROM visit v WHERE v."patientId" = p."patientId")'
    other = f'SELECT "fullName", {count} AS n FROM "Patient" p WHERE {count} > 0'
    assert duckdb_executor.judge(job(other, gold, "clinic")).match
    assert (
        duckdb_executor.judge(
            job("SELECT count(*) FROM long_visit", "SELECT count(*) FROM visit WHERE minutes > 20", "clinic")
        ).match
        is not False
    )


def test_databases_are_not_changed(duckdb_executor: DuckDBExecutor, tmp_path: Path) -> None:
    folder = tmp_path / "databases"
    shutil.copytree(DATABASES, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    executor = DuckDBExecutor(folder, workers=1)
    executor.judge(job(COUNT))
    executor.close()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_dump_is_a_database(tmp_path: Path) -> None:
    (tmp_path / "dump.sql").write_text(
        "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\nSET statement_timeout = 0;\n"
        "SELECT pg_catalog.set_config('search_path', '', false);\nCREATE TYPE public.mood AS ENUM ('ok', 'sad');\n"
        "CREATE TABLE public.note (\n    id integer NOT NULL,\n    feels public.mood,\n"
        "    price money,\n    tags text[]\n);\n"
        "ALTER TABLE public.note OWNER TO someone;\nCREATE SEQUENCE public.note_id_seq AS integer;\n"
        "INSERT INTO public.note VALUES (1, 'ok', '$1,200.50', '{a,\"b c\"}');\n"
        "INSERT INTO public.note VALUES (2, 'sad; very', NULL, NULL);\n"
        "ALTER TABLE ONLY public.note\n    ADD CONSTRAINT note_pkey PRIMARY KEY (id);\n"
        "CREATE INDEX by_mood ON public.note USING btree (feels);\n\\unrestrict abc\n",
        encoding="utf-8",
    )
    data = load_dataset(tmp_path / "dump.sql")
    assert data.schema.tables["note"].primary == ("id",)
    assert data.rows["note"] == [(1, "ok", Decimal("1200.50"), ["a", "b c"]), (2, "sad; very", None, None)]
    (tmp_path / "copy.sql").write_text("CREATE TABLE t (a int);\nCOPY t (a) FROM stdin;\n1\n\\.\n")
    with pytest.raises(DataError, match="holds DDL and INSERTs"):
        load_dataset(tmp_path / "copy.sql")
