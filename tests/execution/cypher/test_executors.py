"""The same cases on both engines: embedded ArcadeDB, and a real Neo4j."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qwen_lightning.errors import ConfigError, DataError, ExecutionError, QueryError
from qwen_lightning.execution.base import QueryExecutor, QueryJob
from qwen_lightning.execution.cypher.analysis import analyse
from qwen_lightning.execution.cypher.executors import ArcadeDBExecutor, Neo4jExecutor
from tests.execution.cypher.cases import FIXTURES, cases, library_schema
from tests.execution.cypher.conftest import GRAPHS

COUNT = "MATCH (b:Book) RETURN count(b) AS n"


def job(query: str, gold: str | None = COUNT, database: str | None = "library") -> QueryJob:
    return QueryJob(query, library_schema(), "cypher", gold=gold, database=database)


def by_gold(name: str) -> list[tuple[str, str, str]]:
    """(gold, kind, query) of a fixture, one query a line."""
    found, gold, kind = [], "", ""
    for line in (FIXTURES / name).read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("// gold: "):
            gold = line.removeprefix("// gold: ")
        elif line.startswith("// "):
            kind = line.removeprefix("// ")
        elif line.strip():
            found.append((gold, kind, line))
    assert found
    return found


def test_good_queries_match_themselves(executor: QueryExecutor) -> None:
    gaps = []
    for number, (name, query) in enumerate(cases("good_queries.cypher")):
        # A parameter has no value here, and what changes from run to run equals nothing.
        if "$" in query or analyse(query, library_schema()).volatile:
            continue
        # A gold makes a server build variants: there every third query is its own gold.
        compared = isinstance(executor, ArcadeDBExecutor) or number % 3 == 0
        outcome = executor.judge(job(query, query if compared else None))
        if outcome.gap:
            gaps.append(name)
            assert outcome.match is None, name
            continue
        assert outcome.executes, (name, outcome.detail)
        assert outcome.match or not compared or "empty on all" in outcome.detail, (name, outcome.detail)
    assert not gaps or isinstance(executor, ArcadeDBExecutor)
    assert len(gaps) <= 8, gaps


@pytest.mark.parametrize(("gold", "kind", "query"), by_gold("rewrites.cypher"))
def test_rewrites_match(executor: QueryExecutor, gold: str, kind: str, query: str) -> None:
    outcome = executor.judge(job(query, gold))
    assert outcome.match, outcome.detail
    assert outcome.variants >= 1


@pytest.mark.parametrize(("gold", "kind", "query"), by_gold("mutations.cypher"))
def test_mutations_do_not_match(executor: QueryExecutor, gold: str, kind: str, query: str) -> None:
    outcome = executor.judge(job(query, gold))
    assert outcome.match is False, (kind, outcome)
    assert outcome.detail


def test_hostile_completions_are_verdicts(impatient: QueryExecutor) -> None:
    for line in (FIXTURES / "hostile.cypher").read_text(encoding="utf-8").splitlines()[1:]:
        outcome = impatient.judge(job(line))
        assert not outcome.match, line
        assert outcome.executes is not True or outcome.match is False, line
    assert impatient.judge(job(COUNT)).match


def test_gold_that_is_empty_everywhere_is_told(executor: QueryExecutor) -> None:
    gold = "MATCH (b:Book) WHERE b.year < 0 AND b.year > 0 RETURN b.title"
    outcome = executor.judge(job(gold, gold))
    assert outcome.executes
    assert outcome.match is None
    assert "empty on all" in outcome.detail


def test_unknown_graph_is_a_data_error(executor: QueryExecutor) -> None:
    assert executor.has_database("library")
    assert not executor.has_database("nowhere")
    with pytest.raises(DataError, match="nowhere"):
        executor.judge(job(COUNT, database="nowhere"))


def test_a_gap_of_the_engine_is_no_fault(arcadedb: ArcadeDBExecutor, neo4j: Neo4jExecutor) -> None:
    query = "MATCH p = SHORTEST 1 (a:Reader)-[:KNOWS]-+(b:Reader) WHERE a.name < b.name RETURN a.name, b.name"
    outcome = arcadedb.judge(job(query, query))
    assert outcome.parses
    assert outcome.references
    assert (outcome.executes, outcome.match) == (None, None)
    assert outcome.gap
    assert neo4j.judge(job(query, query)).match


@pytest.mark.parametrize(
    "query",
    [
        "MATCH (b:Book {title: $x}) RETURN b.title",
        "MATCH (b:Book) RETURN toUpper(b.pages)",
        "MATCH (b:Book) RETURN sum(b.title)",
        "MATCH (b:Book) RETURN date.truncate('foo', date())",
    ],
)
def test_what_both_engines_refuse_is_a_fault(executor: QueryExecutor, query: str) -> None:
    outcome = executor.judge(job(query))
    assert (outcome.executes, outcome.match, outcome.gap) == (False, False, "")


def test_a_limit_of_the_engine_is_a_gap(arcadedb: ArcadeDBExecutor) -> None:
    chain = " OR ".join(f"b.pages = {number}" for number in range(210))
    outcome = arcadedb.judge(job(f"MATCH (b:Book) WHERE {chain} RETURN b.title"))
    assert outcome.gap
    assert outcome.executes is None


def test_what_the_analysis_found_outlives_the_worker(arcadedb: ArcadeDBExecutor) -> None:
    query = "MATCH (b:Book) RETURN reduce(s = 'x', i IN range(1, 40) | s + s) + b.title"
    outcome = arcadedb.judge(job(query))
    assert (outcome.parses, outcome.references, outcome.executes, outcome.match) == (True, True, False, False)


def test_nothing_is_ever_written_to_neo4j(neo4j: Neo4jExecutor, neo4j_url: str) -> None:
    import neo4j as driver

    assert neo4j.judge(job(COUNT)).match
    with driver.GraphDatabase.driver(neo4j_url) as connection, connection.session() as session:
        record = session.run("MATCH (n) RETURN count(n) AS n").single()
        assert record is not None
        assert record["n"] == 0


def test_server_with_a_graph_of_its_own(neo4j_url: str) -> None:
    import neo4j as driver

    from qwen_lightning.execution.cypher.neo4j_engine import Neo4jEngine

    with driver.GraphDatabase.driver(neo4j_url) as connection, connection.session() as session:
        session.run("CREATE (:Book {title: 'One', year: 1984}), (:Book {title: 'Two', year: 2001})").consume()
        executor = Neo4jExecutor(neo4j_url, graph="shelf", workers=1)
        try:
            assert executor.has_database("shelf")
            assert not executor.has_database("library")
            found = executor.judge(job(COUNT, database="shelf"))
            assert found.match
            assert found.variants == 1
            assert "single variant" in found.detail
            schema = library_schema().replace("Author", "Painter")
            asked = QueryJob("MATCH (a:Painter) RETURN a.name", schema, "cypher", database="shelf")
            unknown = executor.judge(asked)
            assert unknown.references
            assert "Painter" in unknown.detail
            engine = Neo4jEngine(neo4j_url, "", "", None, "shelf", 1, 2.0)
            for write in ("CREATE (:Book)", "MATCH (b:Book) SET b.year = 1 RETURN b", "MATCH (n) DETACH DELETE n"):
                assert "reads alone" in engine.run("shelf", write).fault
                with pytest.raises(driver.exceptions.ClientError), engine._transaction("shelf") as transaction:
                    transaction.run(write).consume()
            books = session.run("MATCH (b:Book) RETURN b.title AS title, b.year AS year ORDER BY title").values()
            assert books == [["One", 1984], ["Two", 2001]]
            full = Neo4jExecutor(neo4j_url, databases=GRAPHS, workers=1)
            with pytest.raises(ExecutionError, match="holds data"):
                full.judge(job(COUNT))
            full.close()
        finally:
            executor.close()
            session.run("MATCH (n) DETACH DELETE n").consume()


def test_absent_server_says_what_to_do() -> None:
    made = Neo4jExecutor("bolt://127.0.0.1:1", graph="library", workers=1)
    try:
        with pytest.raises(ExecutionError, match="start the server"):
            made.judge(job(COUNT))
    finally:
        made.close()


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not there"):
        ArcadeDBExecutor(tmp_path / "none")
    with pytest.raises(ConfigError, match="at least 1"):
        ArcadeDBExecutor(tmp_path, workers=0)
    with pytest.raises(ConfigError, match="not both"):
        Neo4jExecutor("bolt://x", databases=tmp_path, graph="g")


def test_file_that_does_not_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.cypher").write_text("CREATE (:A);\nCREATE (;", encoding="utf-8")
    (tmp_path / "empty.cypher").write_text("// nothing\n", encoding="utf-8")
    executor = ArcadeDBExecutor(tmp_path, workers=1)
    try:
        with pytest.raises(DataError, match=r"broken\.cypher: statement 2 does not run"):
            executor.judge(job(COUNT, database="broken"))
        with pytest.raises(DataError, match="no statement"):
            executor.judge(job(COUNT, database="empty"))
    finally:
        executor.close()


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from qwen_lightning.execution.base import QueryJob\n"
        "from qwen_lightning.execution.cypher.executors import ArcadeDBExecutor\n"
        f"executor = ArcadeDBExecutor({str(GRAPHS)!r}, workers=1)\n"
        f"outcome = executor.judge(QueryJob({COUNT!r}, {library_schema()!r}, 'cypher', gold={COUNT!r},"
        " database='library'))\n"
        "assert outcome.match, outcome\n"
        "print(*[worker.process.pid for worker in executor._pool._all], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    pids = [int(pid) for pid in found.stdout.split()]
    assert len(pids) == 2
    for _ in range(100):
        alive = [pid for pid in pids if Path(f"/proc/{pid}/cmdline").is_file() and _runs(pid)]
        if not alive:
            break
        time.sleep(0.1)
    assert not alive


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    "query",
    [
        "MATCH (b:Book) RETURN date('2020-01-01') + duration({years: 9000}) AS d, b.title",
        "MATCH (b:Book) RETURN [date('2020-01-01') + duration({years: 9000}), b.title] AS d",
        "MATCH (b:Book) RETURN {d: localdatetime({year: -5}), t: b.title} AS d",
    ],
)
def test_a_time_that_cannot_be_held_is_a_fault(executor: QueryExecutor, query: str) -> None:
    outcome = executor.judge(job(query))
    assert (outcome.executes, outcome.match, outcome.gap) == (False, False, "")
    assert "1 to 9999" in outcome.detail
    with pytest.raises(QueryError, match="1 to 9999"):
        executor.run("library", query)


@pytest.mark.parametrize(
    "query",
    [
        r"MATCH (b:Book) RETURN b.title + '\uD83D' AS d",
        r"MATCH (b:Book) RETURN date('\uD83D') AS d, b.title",
    ],
)
def test_half_a_character_that_a_query_makes_is_a_fault(arcadedb: ArcadeDBExecutor, query: str) -> None:
    outcome = arcadedb.judge(job(query))
    assert (outcome.parses, outcome.executes, outcome.match, outcome.gap) == (True, False, False, "")
    assert "half a character" in outcome.detail


def test_half_a_character_is_no_query(arcadedb: ArcadeDBExecutor) -> None:
    outcome = arcadedb.judge(job("MATCH (b:Book {title: '\ud800'}) RETURN b.title"))
    assert (outcome.parses, outcome.executes, outcome.match) == (False, False, False)
