"""Defog's sql-eval to records: `*_postgres.jsonl` (db_id, question, instructions, gold_postgres), `databases/*.sql`.

Questions that the data cannot answer (idk.jsonl) have no query to learn or to match, so they are left out and counted.
Defog writes columns that may stand for each other as `{a, b}`; of such alternatives the first is taken.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from converting import fresh_folder, read_rows, run, write_records
from converting_sql import Databases, sql_record, summary

from qwen_lightning.errors import DataError
from qwen_lightning.execution.sql.statements import split_statements

META = {"source": "defog-ai/sql-eval", "licence": "Apache-2.0"}
UNANSWERABLE = "idk.jsonl"


def first_alternative(gold: str) -> str:
    """The first of the queries that a gold lists, its `{a, b}` groups written out; `{}` repeats the last one."""
    query = split_statements(gold)[0]
    last = ""

    def spell(found: re.Match[str]) -> str:
        nonlocal last
        last = found.group(1).strip() or last
        return last

    return re.sub(r"\{([^{}']*)\}", spell, query)


def convert(source: Path, output: Path) -> str:
    """Write records and databases; returns a summary.

    Raises:
        DataError: A file is missing or lacks a field.
    """
    databases = Databases(source / "databases")
    files = sorted(source.glob("*_postgres.jsonl"))
    if not files:
        raise DataError("holds no *_postgres.jsonl", source)
    left_out: Counter[str] = Counter()
    rows: list[tuple[str, dict[str, Any]]] = []
    golds: dict[str, list[str]] = defaultdict(list)
    for path in files:
        for _, row in read_rows(path, ("db_id", "question", "gold_postgres")):
            if row.get("pg_runs") is False:
                left_out["with a gold that Postgres refuses"] += 1
                continue
            question = row["question"].strip()
            if row.get("instructions"):
                question = f"{question}\n{row['instructions'].strip()}"
            row = {**row, "question": question, "gold_postgres": first_alternative(row["gold_postgres"])}
            rows.append((path.stem.removesuffix("_postgres"), row))
            golds[row["db_id"]].append(row["gold_postgres"])
    if (source / UNANSWERABLE).is_file():
        left_out["that the data cannot answer"] = sum(1 for _ in read_rows(source / UNANSWERABLE, ("question",)))
    for name, queries in golds.items():
        databases.restore_keys(name, queries)
    records = (
        sql_record(f"defog-{part}", number, row, databases, {**META, "set": part, "category": row.get("category", "")})
        for number, (part, row) in enumerate(rows, start=1)
    )
    written = write_records(output, records)
    databases.write(fresh_folder(output / "databases"), golds)
    return summary(output, written, databases, left_out)


if __name__ == "__main__":
    run(__doc__ or "", convert)
