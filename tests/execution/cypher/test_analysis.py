"""What the static analysis finds in right and wrong queries on the library graph."""

from __future__ import annotations

import pytest

from qwen_lightning.execution.cypher.analysis import Analysis, analyse
from tests.execution.cypher.cases import cases, library_schema

GOOD, FAULTY = cases("good_queries.cypher"), cases("faulty_queries.cypher")


def analysed(query: str) -> Analysis:
    return analyse(query, library_schema())


def test_the_cases_are_many():
    assert len(GOOD) >= 120
    assert len(FAULTY) >= 110


@pytest.mark.parametrize("query", [query for _, query in GOOD], ids=[name for name, _ in GOOD])
def test_a_good_query_raises_no_alarm(query):
    analysis = analysed(query)
    assert analysis.faults == ()
    assert analysis.parses
    assert analysis.references


@pytest.mark.parametrize(("name", "query"), FAULTY, ids=[name.split(" | ")[0] for name, _ in FAULTY])
def test_a_faulty_query_is_caught_for_its_fault(name, query):
    analysis = analysed(query)
    assert name.split(" | ")[1] in "; ".join(analysis.faults)
    assert not (analysis.parses and analysis.references)


@pytest.mark.parametrize(
    ("query", "reads"),
    [
        ("MATCH (b:Book) RETURN b", {"Book"}),
        ("MATCH (a:Author)-[:WROTE]->(b) RETURN a", {"Author", "WROTE", "Book"}),
        ("MATCH ()-[:KNOWS]->() RETURN 1 AS one", {"KNOWS", "Reader"}),
        ("MATCH (l:Branch) WHERE EXISTS { (l)<-[:MEMBER_OF]-() } RETURN l", {"Branch", "MEMBER_OF", "Reader"}),
        ("RETURN 1 AS one", set()),
    ],
)
def test_reads(query, reads):
    assert analysed(query).reads == reads


@pytest.mark.parametrize(
    ("query", "constant"),
    [
        ("RETURN 1 AS one", True),
        ("UNWIND ['a', 'b'] AS x RETURN x, toUpper(x) AS y", True),
        ("MATCH (b:Book) RETURN 'Night Ferry' AS title LIMIT 1", True),
        ("MATCH (b:Book) WITH 1984 AS year RETURN year", True),
        ("MATCH (b:Book) RETURN b.title, 1 AS one", False),
        ("MATCH (b:Book) RETURN count(*) AS n", False),
        ("UNWIND [1984] AS year MATCH (b:Book {year: year}) RETURN year, b.title", False),
        ("MATCH (b:Book) WITH collect(b.year) AS years RETURN size(years) AS n", False),
    ],
)
def test_constant(query, constant):
    assert analysed(query).constant is constant


@pytest.mark.parametrize(
    ("call", "volatile"),
    [
        ("rand()", True),
        ("timestamp()", True),
        ("randomUUID()", True),
        ("date()", True),
        ("datetime.transaction()", True),
        ("duration.between(date('2020-01-01'), date()).years", True),
        ("date('2020-01-01')", False),
        ("date.truncate('year', date('2020-05-01'))", False),
    ],
)
def test_volatile(call, volatile):
    assert analysed(f"RETURN {call} AS x").volatile is volatile


@pytest.mark.parametrize(
    ("query", "dependent"),
    [
        ("MATCH (b:Book) WITH b LIMIT 2 RETURN b.title", True),
        ("MATCH (b:Book) WITH b ORDER BY b.title LIMIT 2 RETURN b.title", False),
        ("MATCH (b:Book) RETURN collect(b.title) AS titles", True),
        ("MATCH (b:Book) RETURN b.title LIMIT 2", False),
    ],
)
def test_order_dependent(query, dependent):
    assert analysed(query).order_dependent is dependent


def test_columns_are_named_as_neo4j_names_them():
    query = "MATCH (b:Book) RETURN b, b.title, count( * ), (b.year) + 1 AS next"
    assert analysed(query).columns == ("b", "b.title", "count( * )", "next")
    assert analysed("MATCH (a:Author)-[w:WROTE]->(:Book) RETURN *").columns == ("a", "w")
    assert analysed("CALL db.labels()").columns == ("label",)


def test_columns_of_a_union_are_those_of_its_first_part():
    analysis = analysed("RETURN 1 AS a, 2 AS b UNION RETURN 3 AS a, 4 AS b")
    assert analysis.columns == ("a", "b")
    assert analysis.projection is None
    assert not analysis.ordered


def test_projection_facts():
    query = (
        "MATCH (a:Author)-[:WROTE]->(b:Book)\n"
        "RETURN a.name AS name, count(b) AS books ORDER BY books * 2 DESC, a.name, name SKIP 1 LIMIT 1 + 1;"
    )
    projection = analysed(query).projection
    assert projection is not None
    assert query[: projection.items_end].endswith("count(b) AS books")
    assert query[projection.cut_start : projection.cut_end] == "SKIP 1 LIMIT 1 + 1"
    assert (projection.limit_text, projection.skip_text) == ("1 + 1", "1")
    assert projection.aggregated
    assert not projection.distinct
    assert not projection.star
    first, second, third = projection.order_by
    assert (first.text, first.descending, first.column, first.key_text) == ("books * 2", True, None, "(count(b)) * 2")
    assert (second.text, second.descending, second.column) == ("a.name", False, 0)
    assert (third.column, third.key_text) == (0, "(a.name)")


def test_a_rewritten_return_still_compiles():
    query = "MATCH (b:Book) RETURN b.title AS t ORDER BY b.year + size(t) DESC LIMIT 2"
    projection = analysed(query).projection
    assert projection is not None
    key = projection.order_by[0].key_text
    longer = f"{query[: projection.items_end]}, {key} AS `order key 1`{query[projection.items_end :]}"
    assert analysed(longer).faults == ()
    assert analysed(longer).columns == ("t", "order key 1")
    uncut = query[: projection.cut_start] + query[projection.cut_end :]
    again = analysed(uncut).projection
    assert again is not None
    assert again.limit_text is None


def test_after_distinct_no_key_can_be_added():
    projection = analysed("MATCH (b:Book) RETURN DISTINCT b.year AS y ORDER BY y").projection
    assert projection is not None
    assert projection.distinct
    assert (projection.order_by[0].column, projection.order_by[0].key_text) == (0, None)


def test_literals_that_properties_are_compared_with():
    query = (
        "MATCH (a:Author {country: 'Norway'})-[:WROTE]->(b:Book)<-[x:RATED]-(r) "
        "WHERE b.year IN [1984, -1] AND 3 <= x.stars AND r.name STARTS WITH 'O\\'' AND b.tags = $tags RETURN a"
    )
    assert analysed(query).literals == {
        ("Author", "country", "Norway"), ("Book", "year", 1984), ("Book", "year", -1), ("RATED", "stars", 3),
        ("Reader", "name", "O'"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "query",
    [
        "(" * 1_000_000,
        "RETURN " + "[" * 500_000,
        "RETURN " + "CASE WHEN true THEN " * 500 + "1" + " END" * 500 + " AS x",
        "RETURN 'a" + "\\" * 20_001,
        "/*" + "*" * 40_000,
        "RETURN 1\x00",
        "RETURN \ue000a)--(b)",
        "RETURN " + "9" * 5000 + " AS x",
        "",
    ],
    ids=["round", "square", "case", "escapes", "comment", "null", "private", "number", "empty"],
)
def test_a_hostile_text_is_a_verdict(query):
    analysis = analysed(query)
    assert not analysis.parses
    assert analysis.detail
    assert len(analysis.faults) == 1


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("MATCH (b:Book) RETURN b.title //\r RETURN 1 AS one", "RETURN can only stand"),
        ("MATCH (b:Book) RETURN b.title // \\u0041", "outside a string"),
        ("MATCH (b:Book) RETURN b.title AS `a\\u0062`", "outside a string"),
        ("MATCH (b:Book) RETURN 'a\\u0022' AS x, b", "written as"),
        ("MATCH (b:Book)\x85RETURN b", "unexpected character"),
        ("MATCH (b:Book) RETURN b.title \u017fKIP 1", "none"),
        ("MATCH (b:Boo\u212a) RETURN b", "no label"),
    ],
)
def test_what_servers_read_otherwise_is_refused(query, says):
    analysis = analysed(query)
    assert says in analysis.detail
    assert not (analysis.parses and analysis.references)


@pytest.mark.parametrize(
    "query",
    [
        "MATCH (b:Book)\u3000RETURN\xa0b.title // r\xe9sum\xe9 \x85 \u2028 {",
        "MATCH (b:Book) RETURN b.title CONTAINS '\\u00e9 \\u002f \\u002a \\u0060 \\u000a C:\\\\users' AS x",
        "MATCH (b:Book) //\r\n RETURN b.title //",
    ],
)
def test_what_servers_read_alike_is_not(query):
    assert analysed(query).faults == ()


def test_a_long_flat_query_is_analysed():
    terms = " OR ".join(f"b.year = {year}" for year in range(1500))
    analysis = analysed(f"MATCH (b:Book) WHERE {terms} RETURN b.title")
    assert analysis.faults == ()
    assert len(analysis.literals) == 1500


def test_nothing_is_said_of_what_is_not_known():
    # Where a value comes from a parameter, a procedure or an unknown label, no property of it is faulted.
    for query in (
        "UNWIND $rows AS row RETURN row.anything, row.title.deeper",
        "MATCH (n:$($label)) RETURN n.anything",
        "CALL db.index.fulltext.queryNodes('i', 'x') YIELD node RETURN node.anything",
        "MATCH p = (:Reader)-->(:Book) RETURN nodes(p)[1].title, last(nodes(p)).name",
    ):
        assert analysed(query).faults == (), query


def test_one_fault_does_not_make_others():
    analysis = analysed("MATCH (n:Novel)-[:WROTE]->(m) WHERE n.length > 3 RETURN n.a, m.title")
    assert len(analysis.faults) == 1
