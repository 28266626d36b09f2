"""Spider with Postgres golds to records: `questions.jsonl` (db_id, question, gold_postgres), `databases/*.sql`."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from converting import fresh_folder, read_rows, run, write_records
from converting_sql import Databases, sql_record, summary

META = {"source": "Spider (Yu et al. 2018), Postgres migration", "licence": "CC BY-SA 4.0"}


def convert(source: Path, output: Path) -> str:
    """Write records and databases; returns a summary.

    Raises:
        DataError: A file is missing or lacks a field.
    """
    databases = Databases(source / "databases")
    left_out: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    golds: dict[str, list[str]] = defaultdict(list)
    seen: set[tuple[str, str, str]] = set()
    for _, row in read_rows(source / "questions.jsonl", ("db_id", "question", "gold_postgres")):
        key = (row["db_id"], row["question"], row["gold_postgres"])
        if row.get("pg_runs") is False:
            left_out["with a gold that Postgres refuses"] += 1
        elif key in seen:
            left_out["that stand twice"] += 1
        else:
            seen.add(key)
            rows.append(row)
            golds[row["db_id"]].append(row["gold_postgres"])
    for name, queries in golds.items():
        databases.restore_keys(name, queries)
    written = write_records(
        output, (sql_record("spider", number, row, databases, dict(META)) for number, row in enumerate(rows, start=1))
    )
    databases.write(fresh_folder(output / "databases"), golds)
    return summary(output, written, databases, left_out)


if __name__ == "__main__":
    run(__doc__ or "", convert)
