"""How fast SQL verdicts are: `python tools/bench_verdicts.py [--records R.jsonl --databases DIR]`.

Judges golds, and golds with a changed condition, on DuckDB with execution on all variants. The pool is warm: workers
run and have loaded the databases and the golds' results.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qwen_lightning.execution.sql.executors import DuckDBExecutor
from qwen_lightning.records import RecordReader, SQLRecord
from qwen_lightning.tasks.text2sql import Text2SQL

DATABASES = Path(__file__).parents[1] / "tests" / "fixtures" / "sql" / "databases"
# Pairs of records for the fixture databases: (database, gold).
GOLDS = [
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


def fixture_records() -> list[SQLRecord]:
    """Records over the databases that the tests use."""
    return [
        SQLRecord(
            id=str(number),
            task="text2sql",
            input="?",
            schema=(DATABASES / f"{database}.sql").read_text(encoding="utf-8"),
            dialect="postgres",
            database=database,
            gold=gold,
        )
        for number, (database, gold) in enumerate(GOLDS)
    ]


def completions(record: SQLRecord) -> list[str]:
    """What a model might say: the gold, and near misses."""
    assert record.gold is not None
    return [
        record.gold,
        record.gold + " LIMIT 2",
        record.gold.replace("=", "<>", 1),
        record.gold.replace("SELECT", "SELECT DISTINCT", 1),
    ]


def main() -> None:
    """Print the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, help="records.jsonl with text2sql records; the fixtures' otherwise")
    parser.add_argument("--databases", type=Path, default=DATABASES)
    parser.add_argument("--verdicts", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    records = fixture_records()
    if arguments.records is not None:
        located = RecordReader().read(arguments.records)
        records = [
            item.record for item in located if isinstance(item.record, SQLRecord) and item.record.gold is not None
        ]
    task = Text2SQL(DuckDBExecutor(arguments.databases, workers=arguments.workers))
    pairs = [(record, completion) for record in records for completion in completions(record)]
    jobs = list(itertools.islice(itertools.cycle(pairs), arguments.verdicts))
    with ThreadPoolExecutor(arguments.workers) as threads:
        # Golds are cached by worker: two rounds bring nearly all of them to every worker.
        for _ in range(2):
            list(
                threads.map(
                    lambda record: task.verify(record, record.gold or ""),
                    {record.id: record for record, _ in jobs}.values(),
                )
            )
        start = time.perf_counter()
        verdicts = list(threads.map(lambda pair: task.verify(*pair), jobs))
        seconds = time.perf_counter() - start
    task.close()
    outcome = Counter("gap" if v.gaps else "match" if v.checks.get("match") == 1 else "no match" for v in verdicts)
    rate = f"{len(verdicts) / seconds:.0f} a second, {arguments.workers} workers"
    print(f"{len(verdicts)} verdicts in {seconds:.2f} s ({rate}): {dict(outcome)}")


if __name__ == "__main__":
    main()
