"""The static analysis against lists of good and faulty queries, with a real Postgres as the oracle of the lists."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from qwen_lightning.errors import DataError
from qwen_lightning.execution.base import QueryJob
from qwen_lightning.execution.sql.analysis import analyse
from qwen_lightning.execution.sql.static import judge_statically
from tests.execution.sql.cases import Case, ddl, read_cases

GOOD = read_cases("good_queries.sql")
FAULTY = read_cases("faulty_queries.sql")
SHOP = ddl("shop")


def refused(case: Case) -> bool:
    analysis = analyse(case.query, case.schema, "postgres")
    return not analysis.parses or bool(analysis.faults)


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.query[:60])
def test_good_query_raises_no_alarm(case: Case) -> None:
    analysis = analyse(case.query, case.schema, "postgres")
    assert analysis.parses, analysis.detail
    assert analysis.references, analysis.detail
    assert analysis.dialect, analysis.detail
    assert not analysis.faults


def test_faulty_queries_are_caught() -> None:
    missed = [case for case in FAULTY if not refused(case)]
    assert len(FAULTY) >= 60
    assert len(missed) <= 0.02 * len(FAULTY), [case.query for case in missed]
    kinds = Counter(case.kind for case in FAULTY)
    assert len(kinds) >= 8


@pytest.mark.parametrize(
    ("kind", "check"), [("unknown table", "references"), ("unknown column", "references")], ids=["tables", "columns"]
)
def test_what_the_schema_lacks_fails_references(kind: str, check: str) -> None:
    cases = [case for case in FAULTY if case.kind == kind and case.database == "shop"]
    assert cases
    assert [case.query for case in cases if getattr(analyse(case.query, case.schema, "postgres"), check)] == []


def test_aliases_scopes_and_groups_leave_references_alone() -> None:
    kinds = ("alias in WHERE or HAVING", "ungrouped column", "aggregate or window out of place", "types")
    for case in FAULTY:
        if case.kind in kinds and case.database == "shop":
            assert analyse(case.query, case.schema, "postgres").references, case.query


def test_lists_agree_with_postgres(postgres: Any) -> None:
    import psycopg

    for cases, accepted in ((GOOD, True), (FAULTY, False)):
        for case in cases:
            with psycopg.connect(postgres.superuser, dbname=case.database, autocommit=True) as connection:
                try:
                    connection.execute("EXPLAIN " + case.query.rstrip(";"))
                    runs = True
                except psycopg.Error:
                    runs = False
            assert runs == accepted, case.query


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "-- only a comment",
        "/* SELECT count(*) FROM customers */",
        "```sql\nSELECT count(*) FROM customers\n```",
        "Here is the query: SELECT count(*) FROM customers",
        "SELECT count(*) FROM customers\n\nThis counts the customers.",
        "SELECT count(*) FROM customers; SELECT 1",
        "SELEC count(*) FROM customers",
        "SELECT count(* FROM customers",
        "SELECT FROM WHERE",
        "EXPLAIN SELECT 1",
        "SELECT $1",
        "SELECT * FROM customers WHERE id = ?",
        "SELECT " + "(" * 500 + "1" + ")" * 500,
        "SELECT " + "array[" * 60 + "1" + "]" * 60,
        "SELECT 1" + " + 1" * 20000,
        "SELECT " + "NOT " * 3000 + "true",
        "SELECT 1 FROM " + "(SELECT 1 FROM " * 300 + "customers" + ") x" * 300,
        "SELECT 1 WHERE true" + " AND true" * 1500 + "\x00",
        "SELECT '\ud800' FROM customers",
    ],
    ids=lambda text: repr(text[:40]),
)
def test_what_is_no_single_query_does_not_parse(text: str) -> None:
    outcome = judge_statically(QueryJob(text, SHOP, "postgres", gold="SELECT 1", database="shop"))
    assert outcome.parses is False
    assert (outcome.references, outcome.dialect, outcome.executes, outcome.match) == (False, False, False, False)
    assert outcome.detail


def test_comments_and_semicolon_are_taken() -> None:
    outcome = judge_statically(QueryJob("/* count */ SELECT count(*) -- all\nFROM customers;", SHOP, "postgres"))
    assert outcome.parses
    assert outcome.references
    assert outcome.executes is None


def test_without_gold_a_query_must_read_the_schema() -> None:
    assert judge_statically(QueryJob("SELECT 1", SHOP, "postgres")).references is False
    assert judge_statically(QueryJob("SELECT 1", SHOP, "postgres", gold="SELECT 1")).references is True


def test_dialect_is_false_for_foreign_syntax() -> None:
    for query in (
        "SELECT IFNULL(city, '') FROM customers",
        "SELECT title FROM products LIMIT 2, 3",
        "SELECT CAST(price AS STRING) FROM products",
        "SELECT title FROM products QUALIFY rank() OVER (ORDER BY price) = 1",
    ):
        analysis = analyse(query, SHOP, "postgres")
        assert not analysis.dialect, query
        assert analysis.references, query


def test_long_chains_are_analysed() -> None:
    query = "SELECT count(*) FROM customers WHERE " + " OR ".join(f"id = {i}" for i in range(400))
    assert not analyse(query, SHOP, "postgres").faults


def test_unreadable_schema_and_dialect_are_data_errors() -> None:
    with pytest.raises(DataError, match="declares no table"):
        analyse("SELECT 1", "table customers with name and city", "postgres")
    with pytest.raises(DataError, match="dialect 'mysql'"):
        analyse("SELECT 1", SHOP, "mysql")
