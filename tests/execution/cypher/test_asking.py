"""Schema, EXPLAIN and results of graphs, the same from ArcadeDB and from a real Neo4j, to which nothing is written."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

import pytest

from qwen_lightning.errors import DataError, QueryError
from qwen_lightning.execution.base import Limits, QueryExecutor, QueryJob
from qwen_lightning.execution.cypher.executors import Neo4jExecutor
from qwen_lightning.execution.cypher.graph_schema import read_schema
from tests.execution.cypher.cases import cases, library_schema

KNIFE = {
    "isbn": "978-0-05",
    "pages": 288,
    "tags": ["murder", "priest", "sea"],
    "title": "A Knife for Sunday",
    "year": 2009,
}
WRITES = [
    "CREATE (:Book)",
    "MATCH (n) DETACH DELETE n",
    "MATCH (b:Book) SET b.year = 1 RETURN b",
    "CALL db.createLabel('X')",
    "CALL { CREATE (:Book) } RETURN 1 AS one",
    "MATCH (b:Book) RETURN b; CREATE (:Book)",
    "EXPLAIN MATCH (n) RETURN n",
]
# Texts that one lexer takes for a comment, a string or a name, and another one for LOAD CSV; @ is an address.
CSV = "WITH 1 AS q LOAD CSV FROM '@' AS l RETURN l"
CSV_2 = CSV.replace("'", '"')
HIDDEN = [
    f"MATCH (b:Book) //\r {CSV} /*\n RETURN b.title //*/",
    f"MATCH (b:Book) //\\u000a {CSV} /*\n RETURN b.title //*/",
    f"MATCH (b:Book) //\\u000d {CSV} /*\n RETURN b.title //*/",
    f"MATCH (b:Book) /* \\u002a/ {CSV} // */ RETURN b.title",
    f"MATCH (b:Book) WITH b, 'a\\u0027 AS z {CSV_2} //' AS c RETURN b.title",
    f"MATCH (b:Book) WITH b, 'a\\u005c' AS z, ' AS y {CSV_2} //' AS c RETURN b.title",
    f"MATCH (b:Book) WITH b AS `a\\u0060 {CSV} //` RETURN 1 AS one",
]
# What reaches out of the graph though its type is a read's, in the plan's operators and inside expressions.
OUTSIDE = [
    "LOAD CSV FROM '@' AS l RETURN l",
    "MATCH (n) RETURN COLLECT { LOAD CSV FROM '@' AS l RETURN l } AS x",
    "RETURN [x IN [1, 2] | COLLECT { LOAD CSV FROM '@' AS l RETURN l }] AS x",
    "MATCH (n) WHERE any(x IN [1, 2] WHERE EXISTS { LOAD CSV FROM '@' AS l RETURN l }) RETURN n",
    "UNWIND [[x IN [1] | COUNT { LOAD CSV FROM '@' AS l RETURN l }]] AS x RETURN x ORDER BY x LIMIT 2",
    "CALL db.ping()",
    "RETURN [x IN [1, 2] | COLLECT { CALL db.ping() YIELD success RETURN success }] AS x",
    "CALL { MATCH (n) RETURN n } IN TRANSACTIONS RETURN n",
]
CRIME = {"labels": ["Genre"], "properties": {"name": "Crime"}}


def test_schema_is_that_of_the_graph(executor: QueryExecutor) -> None:
    assert executor.database_names() == ["library"]
    text = executor.describe("library")
    told, written = read_schema(text), read_schema(library_schema())
    assert told.labels.keys() == written.labels.keys()
    assert told.triples == written.triples
    assert {key: set(kept) for key, kept in told.labels.items()} == {
        key: set(kept) for key, kept in written.labels.items()
    }
    assert told.labels["Author"]["born"] == "DATE"
    assert told.labels["Branch"]["location"] == "POINT"
    assert told.types["HOLDS"] == {"copies": "INTEGER"}


def test_results(executor: QueryExecutor) -> None:
    table = executor.run(
        "library",
        "MATCH p = (b:Book {isbn: '978-0-05'})-[r:IN_GENRE]->(g) MATCH (a:Author {name: 'Nils Moen'}), (s:Branch) "
        "WHERE s.name = 'Station' RETURN b AS zebra, p, a.born, s.location, ['(node)', 2.5, null] AS listed, "
        "{b: 1, a: date('2020-01-02')} AS mapped, duration('P14M3DT4.5S') AS lasts, 9007199254740993 AS big, "
        "1.0/0 AS inf",
    )
    assert table.columns == ("zebra", "p", "a.born", "s.location", "listed", "mapped", "lasts", "big", "inf")
    (row,) = table.rows
    book, path = row[0], row[1]["path"]
    assert book == {"labels": ["Book"], "properties": KNIFE}
    assert (path[0], path[2]) == (book, CRIME)
    assert path[1] == {"type": "IN_GENRE", "properties": {}, "start": book, "end": CRIME}
    assert row[2] == "1961-08-09"
    assert row[3] == {"srid": 4326, "coordinates": [13.18, 55.71]}
    assert row[4:] == [
        ["(node)", 2.5, None], {"a": "2020-01-02", "b": 1}, "P14M3DT4.5S", "9007199254740993", "Infinity",
    ]  # fmt: skip


def test_columns_of_an_empty_result(executor: QueryExecutor) -> None:
    table = executor.run("library", "MATCH (b:Book) WHERE b.year > 3000 RETURN b.title, count(*) AS n")
    assert (table.columns, table.rows, table.truncated) == (("b.title", "n"), [], False)


def test_good_queries_are_accepted_and_faulty_ones_are_not(executor: QueryExecutor) -> None:
    for name, query in cases("good_queries.cypher")[::9]:
        said = executor.explain("library", query)
        assert said.accepted is not False, (name, said.detail)
    for name, query in cases("faulty_queries.cypher")[::9]:
        said = executor.explain("library", query)
        assert said.accepted is False, name
        assert said.detail


def test_names_that_are_also_keywords_are_no_reason_to_refuse(executor: QueryExecutor) -> None:
    for query in (
        "MATCH (b:Book) WITH collect(b) AS transactions RETURN [t IN transactions | t.year] AS years",
        "MATCH (b:Book) WITH collect(b.year) AS transactions MATCH (c:Book) WHERE c.year IN transactions RETURN c.year",
    ):
        assert executor.run("library", query).rows


def test_results_end_at_their_limits_and_the_graph_is_still_there(executor: QueryExecutor) -> None:
    query = "MATCH (a), (b), (c), (d) RETURN a.name, b.name"
    for _ in range(2):
        some = executor.run("library", query, Limits(5, 1_000_000))
        assert (len(some.rows), some.truncated) == (5, True)
    small = executor.run("library", "MATCH (b:Book) RETURN b", Limits(1000, 400))
    assert 0 < len(small.rows) < 8
    assert small.truncated
    with pytest.raises(QueryError, match="first row is"):
        executor.run("library", "MATCH (b:Book) RETURN collect(b) AS books", Limits(10, 300))
    assert executor.run("library", "MATCH (b:Book) RETURN count(b) AS n").rows == [[8]]


def test_writes_are_refused_and_leave_nothing(executor: QueryExecutor, request: pytest.FixtureRequest) -> None:
    for query in WRITES:
        with pytest.raises(QueryError):
            executor.run("library", query)
        assert executor.explain("library", query).accepted is False
    assert executor.run("library", "MATCH (b:Book) RETURN count(b) AS n").rows == [[8]]
    if isinstance(executor, Neo4jExecutor):
        import neo4j as driver

        with driver.GraphDatabase.driver(request.getfixturevalue("neo4j_url")) as connection:
            assert connection.execute_query("MATCH (n) RETURN count(n) AS n").records[0]["n"] == 0


def test_no_lexer_is_led_out_of_the_graph(executor: QueryExecutor) -> None:
    with _listener() as (address, heard):
        for text in HIDDEN:
            query = text.replace("@", address)
            with pytest.raises(QueryError):
                executor.run("library", query)
            assert executor.explain("library", query).accepted is False, query
            assert executor.judge(QueryJob(query, library_schema(), "cypher", database="library")).parses is False
        assert not heard


def test_the_plan_alone_keeps_a_query_in_the_graph(neo4j_url: str) -> None:
    from qwen_lightning.execution.cypher.neo4j_engine import Neo4jEngine

    engine = Neo4jEngine(neo4j_url, "", "", None, "shelf", 1, 5.0)
    with _listener() as (address, heard), engine.driver:
        for text in [*HIDDEN, *OUTSIDE]:
            query = text.replace("@", address)
            for result in (engine.run("shelf", query), engine.fetch("shelf", query, Limits(5, 100)),
                           engine.explain("shelf", query)):  # fmt: skip
                assert "read" in result.fault, query
        assert not heard
        listed = "CALL db.labels() YIELD label RETURN label"
        titles = "MATCH (b) WHERE b.title CONTAINS 'LOAD CSV' RETURN b"
        for read in (listed, f"RETURN [x IN [1] | COLLECT {{ {listed} }}] AS x", titles):
            assert engine.run("shelf", read).fault == "", read


@contextlib.contextmanager
def _listener() -> Iterator[tuple[str, list[str]]]:
    """An address that answers every request, and what was asked of it."""
    heard: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"of,the,inner,net\n")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/x", heard
        server.shutdown()


def test_a_query_past_its_limit_is_told(impatient: QueryExecutor) -> None:
    endless = "UNWIND range(1, 100000) AS a UNWIND range(1, 100000) AS b MATCH (n:Book) RETURN max(a + b + n.year) AS m"
    assert impatient.explain("library", endless).accepted is not False
    with pytest.raises(QueryError, match=r"limit|terminated"):
        impatient.run("library", endless)
    assert impatient.run("library", "MATCH (b:Book) RETURN count(b) AS n").rows == [[8]]


def test_unknown_graph(executor: QueryExecutor) -> None:
    with pytest.raises(DataError, match="'nowhere' is not in"):
        executor.describe("nowhere")


def test_server_with_a_graph_of_its_own(neo4j_url: str) -> None:
    import neo4j as driver

    with driver.GraphDatabase.driver(neo4j_url) as connection, connection.session() as session:
        session.run(
            "CREATE (:Book {title: 'One', year: 1984})-[:NEXT {gap: 17}]->(:Book:`Big one` {title: 'Two', year: 1.5})"
        ).consume()
        executor = Neo4jExecutor(neo4j_url, graph="shelf", workers=1)
        try:
            assert executor.database_names() == ["shelf"]
            told = read_schema(executor.describe("shelf"))
            assert told.labels["Book"] == {"title": "STRING", "year": "ANY"}
            assert ("Book", "NEXT", "Big one") in told.triples
            assert told.types["NEXT"] == {"gap": "INTEGER"}
            assert executor.run("shelf", "MATCH (b:Book) RETURN b.year ORDER BY b.title").rows == [[1984], [1.5]]
            unknown = executor.explain("shelf", "MATCH (b:Picture) RETURN b.title")
            assert unknown.accepted is False
            assert "Picture" in unknown.detail
            assert executor.explain("shelf", "MATCH (b:Book) RETURN b.title").accepted
            for write in ("CREATE (:Book)", "MATCH (n) DETACH DELETE n"):
                with pytest.raises(QueryError):
                    executor.run("shelf", write)
            assert Neo4jExecutor(neo4j_url, workers=1).database_names() == ["neo4j"]
        finally:
            executor.close()
            session.run("MATCH (n) DETACH DELETE n").consume()
