"""The outcome that text and schema alone decide."""

from __future__ import annotations

import pytest

from qwen_lightning.execution.base import QueryJob, QueryOutcome
from qwen_lightning.execution.cypher.static import judge_statically
from tests.execution.cypher.cases import library_schema


def judged(query: str, gold: str | None = None, database: str | None = None) -> QueryOutcome:
    return judge_statically(QueryJob(query, library_schema(), "neo4j5", gold, database))


def test_a_good_query():
    outcome = judged("MATCH (b:Book) RETURN b.title")
    assert (outcome.parses, outcome.references, outcome.executes, outcome.match) == (True, True, None, None)
    assert outcome.detail == ""


@pytest.mark.parametrize("query", ["MATCH (b:Book RETURN b", "MATCH (b:Book) DELETE b", "MATCH (b:Book) RETURN x"])
def test_what_does_not_compile_fails_every_check(query):
    outcome = judged(query, gold="MATCH (b:Book) RETURN b", database="library")
    assert (outcome.parses, outcome.references, outcome.executes, outcome.match) == (False, False, False, False)
    assert outcome.detail


def test_without_a_database_there_is_nothing_to_match():
    assert judged("MATCH (b:Book RETURN b", gold="MATCH (b:Book) RETURN b").match is None


def test_a_wrong_direction_fails_references_alone():
    outcome = judged("MATCH (b:Book)-[:WROTE]->(a:Author) RETURN a.name", gold="MATCH (a:Author) RETURN a.name")
    assert (outcome.parses, outcome.references, outcome.executes) == (True, False, None)
    assert "points the other way" in outcome.detail


def test_a_query_that_reads_nothing_fails_references_where_there_is_no_gold():
    assert judged("RETURN 1 AS one").references is False
    assert "reads no label" in judged("RETURN 1 AS one").detail
    assert judged("RETURN 1 AS one", gold="RETURN 1 AS one").references is True
