"""Run the golds of records on ArcadeDB and on Neo4j and list where they differ.

`python tools/compare_cypher_engines.py --records R.jsonl --databases DIR [--url bolt://127.0.0.1:7687]`. The server
must be empty (`bash tools/neo4j/start.sh` brings one up): graphs are made there in transactions never committed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from qwen_lightning.errors import QwenLightningError
from qwen_lightning.execution.cypher.analysis import Analysis, analyse
from qwen_lightning.execution.cypher.arcadedb_engine import ArcadeDBEngine
from qwen_lightning.execution.cypher.engine import Engine
from qwen_lightning.execution.cypher.expected import ordered_gold
from qwen_lightning.execution.cypher.neo4j_engine import Neo4jEngine
from qwen_lightning.execution.cypher.values import unordered
from qwen_lightning.execution.results import Expected, Result, same_as_gold
from qwen_lightning.records import CypherRecord, RecordReader


def expected(engine: Engine, graph: str, query: str, analysis: Analysis) -> Expected | Result:
    """What an engine yields on the original, with the ties that its order leaves open."""
    variant = engine.variants(graph)[0]
    ordered = ordered_gold(query, analysis)
    result = engine.run(variant, ordered.query)
    if result.fault or result.gap:
        return engine.run(variant, query)
    return ordered.expected(result, lambda text: engine.run(variant, text))


def compare(left: Expected | Result, right: Result) -> str:
    """How two engines' results stand to each other: Neo4j's, and ArcadeDB's."""
    if right.gap:
        return "gap"
    if isinstance(left, Result):
        return "both refuse" if right.fault else "Neo4j alone refuses"
    if right.fault:
        return "ArcadeDB alone refuses"
    if same_as_gold(left, right.rows):
        return "equal"
    rows, others = ([tuple(map(unordered, row)) for row in each] for each in (left.rows, right.rows))
    return "equal but for the order of lists" if same_as_gold(Expected(rows, left.width), others) else "different"


def main() -> None:
    """Print a table of how often, then the queries that are not equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--databases", type=Path, required=True)
    parser.add_argument("--url", default="bolt://127.0.0.1:7687")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    arguments = parser.parse_args()
    try:
        located = RecordReader().read(arguments.records)
        databases = arguments.databases.resolve()  # ArcadeDB moves to a folder of its own
        neo4j = Neo4jEngine(arguments.url, arguments.user, arguments.password, databases, "", 1, 10.0)
        arcadedb = ArcadeDBEngine(databases, 1, 10.0)
    except QwenLightningError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    counts: Counter[str] = Counter()
    lines: list[str] = []
    for item in located:
        record = item.record
        if not isinstance(record, CypherRecord) or record.gold is None or record.database is None:
            continue
        analysis = analyse(record.gold, record.schema_text)
        right = arcadedb.run(arcadedb.variants(record.database)[0], record.gold)
        left = expected(neo4j, record.database, record.gold, analysis)
        kind = compare(left, right)
        if kind == "different" and analysis.order_dependent:
            kind = "different, and its result hangs on the order of the data"
        counts[kind] += 1
        if kind not in ("equal", "equal but for the order of lists"):
            told = [right.gap or right.fault, left.fault if isinstance(left, Result) else ""]
            if not any(told):
                told = [f"ArcadeDB {right.rows[:3]}", f"Neo4j {left.rows[:3]}"]
            lines.append(f"{kind}: {record.id}: {' '.join(record.gold.split())}\n    {' | '.join(filter(None, told))}")
    print("| ArcadeDB beside Neo4j | golds |\n|---|---|", flush=True)
    for kind, count in counts.most_common():
        print(f"| {kind} | {count} |")
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main()
