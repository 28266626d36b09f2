"""How fast verdicts are: `python tools/bench_verdicts.py [--records R.jsonl... --databases DIR] [--tasks ...]`.

Judges golds and near misses as training does, through the verifier's threads. SQL runs on DuckDB and Cypher on
ArcadeDB, with all variants of the data, on a warm pool: workers run and have loaded the databases and the golds'
results. The other tasks judge as many different records as verdicts, so that nothing is found in a cache.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from qwen_lightning.execution.cypher.executors import ArcadeDBExecutor
from qwen_lightning.execution.sql.executors import DuckDBExecutor
from qwen_lightning.records import RecordBase
from qwen_lightning.tables import render_table
from qwen_lightning.tasks.queries import QueryTask
from qwen_lightning.tasks.registry import TaskRegistry
from qwen_lightning.tasks.verification import Verifier
from qwen_lightning.verdict import Verdict

FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures"
DATABASES, GRAPHS = FIXTURES / "sql" / "databases", FIXTURES / "cypher" / "graphs"
FILES = {name: FIXTURES / folder / "records.jsonl" for name, folder in
         (("intent_rewrite", "rewrites"), ("slot_json", "slots"), ("function_call", "function_call"))}  # fmt: skip
COUNTS = {
    "intent_rewrite": 10_000,
    "slot_json": 10_000,
    "function_call": 10_000,
    "text2sql": 1_000,
    "text2cypher": 1_000,
}
# Queries over the fixtures' databases: (database, gold).
SQL = [
    ("shop", "SELECT name FROM customers WHERE city = 'Oslo' ORDER BY name"),
    ("shop", "SELECT category, count(*), max(price) FROM products GROUP BY category ORDER BY 2 DESC, 1"),
    (
        "shop",
        "SELECT c.name, count(o.id) FROM customers c LEFT JOIN orders o ON o.customer_id = c.id GROUP BY c.id",
    ),
    ("shop", "WITH s AS (SELECT order_id, sum(quantity) AS q FROM order_items GROUP BY order_id) SELECT max(q) FROM s"),
    ("shop", "SELECT date_trunc('month', ordered_at) AS m, count(*) FROM orders GROUP BY m ORDER BY m"),
    ("school", "SELECT major, avg(gpa) FROM student GROUP BY major HAVING count(*) >= 2"),
    (
        "school",
        "SELECT s.name FROM student s JOIN enrolled e USING (sid) JOIN course c USING (cid) WHERE c.title = 'Optics'",
    ),
    ("school", "SELECT name FROM teacher WHERE salary > (SELECT avg(salary) FROM teacher)"),
]
CYPHER = [
    ("library", "MATCH (b:Book) WHERE b.pages > 200 RETURN b.title ORDER BY b.title"),
    ("library", "MATCH (a:Author)-[:WROTE]->(b:Book) RETURN a.name, count(b) ORDER BY a.name"),
    ("library", "MATCH (r:Reader) WHERE r.age = 77 RETURN r.name"),
    ("library", "MATCH (r:Reader)-[x]->(b:Book) RETURN r.name, type(x), b.title"),
    ("library", "MATCH (g:Genre)<-[:PART_OF]-(s:Genre) RETURN g.name, s.name"),
]


def fixture_records(registry: TaskRegistry, task: str) -> list[RecordBase]:
    """Records over what the tests use."""
    if task in FILES:
        return [item.record for item in registry.reader.read(FILES[task])]
    folder, queries, suffix = (DATABASES, SQL, ".sql") if task == "text2sql" else (GRAPHS, CYPHER, ".schema.txt")
    rows = [
        {
            "id": str(number),
            "task": task,
            "input": "?",
            "schema": (folder / f"{database}{suffix}").read_text(encoding="utf-8"),
            "database": database,
            "gold": gold,
        }
        for number, (database, gold) in enumerate(queries)
    ]
    return [registry.reader.parse(row | ({"dialect": "postgres"} if task == "text2sql" else {})) for row in rows]


def completions(task: str, gold: str) -> list[str]:
    """What a model might say: the gold, and near misses."""
    if task == "text2sql":
        return [gold, gold + " LIMIT 2", gold.replace("=", "<>", 1), gold.replace("SELECT", "SELECT DISTINCT", 1)]
    if task == "text2cypher":
        return [gold, gold + " LIMIT 2", gold.replace("=", "<>", 1), gold.replace("RETURN", "RETURN DISTINCT", 1)]
    words = gold.split(" ")
    return [gold, gold.replace("a", "e"), gold + "\nDone.", " ".join(words[: len(words) // 2])]


def jobs(registry: TaskRegistry, task: str, records: Sequence[RecordBase], count: int) -> list[tuple[RecordBase, str]]:
    """`count` records with a completion each."""
    said = [(record, text) for record in records for text in completions(task, registry[task].target(record))]
    pairs = list(itertools.islice(itertools.cycle(said), count))
    if isinstance(registry[task], QueryTask):
        return pairs
    return [
        (record.model_copy(update={"input": f"{record.input} ({number})"}), text)
        for number, (record, text) in enumerate(pairs)
    ]


def timed(registry: TaskRegistry, task: str, pairs: list[tuple[RecordBase, str]]) -> tuple[float, list[Verdict]]:
    """Seconds and verdicts."""
    verifier = Verifier(registry)
    if isinstance(registry[task], QueryTask):
        # Golds are cached by worker: two rounds bring nearly all of them to every worker.
        golds = list({record.id: record for record, _ in pairs}.values())
        for _ in range(2):
            verifier.verify(golds, [registry[task].target(record) for record in golds])
    records, texts = [record for record, _ in pairs], [text for _, text in pairs]
    start = time.perf_counter()
    verdicts = verifier.verify(records, texts)
    seconds = time.perf_counter() - start
    verifier.close()
    return seconds, verdicts


def main() -> None:
    """Print a row a task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, nargs="+", help="records of any of the tasks; the fixtures' otherwise")
    parser.add_argument("--databases", type=Path, help="folder of databases of --records")
    parser.add_argument("--tasks", nargs="+", choices=list(COUNTS), default=list(COUNTS))
    parser.add_argument("--verdicts", type=int, help="verdicts of each task, in place of 1,000 and 10,000")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    given = arguments.records is not None
    registry = TaskRegistry(
        sql=DuckDBExecutor(arguments.databases if given else DATABASES, workers=arguments.workers),
        cypher=ArcadeDBExecutor(arguments.databases if given else GRAPHS, workers=arguments.workers),
    )
    read = [item.record for item in registry.reader.read_many(arguments.records)] if given else []
    rows = []
    for task in arguments.tasks:
        records = [record for record in read if record.task == task] if given else fixture_records(registry, task)
        records = [record for record in records if record.gold is not None]
        if not records:
            continue
        pairs = jobs(registry, task, records, arguments.verdicts or COUNTS[task])
        seconds, verdicts = timed(registry, task, pairs)
        decides = registry.verified(task).decides
        found = Counter("gap" if v.gaps else "right" if v.checks.get(decides or "") == 1 else "wrong" for v in verdicts)
        counts = [str(found[kind]) for kind in ("right", "wrong", "gap")]
        rows.append([task, str(len(verdicts)), f"{seconds:.2f}", f"{len(verdicts) / seconds:.0f}", *counts])
    registry.close()
    print(render_table(["task", "verdicts", "seconds", "a second", "right", "wrong", "gap"], rows))


if __name__ == "__main__":
    main()
