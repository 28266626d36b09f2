"""What the converters of text-to-SQL data sets share: databases, compact DDL, and keys that golds rely on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qwen_lightning.errors import DataError
from qwen_lightning.execution.sql.analysis import analyse
from qwen_lightning.execution.sql.dataset import Dataset, load_dataset
from qwen_lightning.execution.sql.ddl import Table
from qwen_lightning.execution.sql.statements import split_statements, strip_comments

_CREATE = re.compile(r"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>[\w.\"]+)\s*\(", re.IGNORECASE)


class Databases:
    """The databases of a data set: their files, and the DDL that prompts show.

    Args:
        folder: Holds `<name>.sql`, Postgres DDL and INSERTs.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError("is not there; the data set's databases are expected in it", folder)
        self.folder = folder
        self._statements: dict[str, list[str]] = {}
        self._data: dict[str, Dataset] = {}
        self.added: dict[str, dict[str, str]] = {}

    def statements(self, name: str) -> list[str]:
        """A database's statements.

        Raises:
            DataError: There is no such database.
        """
        if name not in self._statements:
            path = self.folder / f"{name}.sql"
            if not path.is_file():
                raise DataError(f"database {name!r} is not in {self.folder}")
            self._statements[name] = split_statements(path.read_text(encoding="utf-8"))
        return self._statements[name]

    def ddl(self, name: str) -> str:
        """A database's DDL for the prompt: a line a table, with no rows, and the keys that were added."""
        lines = []
        for statement in self.statements(name):
            text = strip_comments(statement)
            if text.split(None, 1)[0].upper() not in ("CREATE", "ALTER"):
                continue
            lines.append(_compact(self._with_key(name, text)) + ";")
        return "\n".join(lines)

    def write(self, output: Path, names: Iterable[str]) -> None:
        """Write the databases, with the keys that were added."""
        for name in names:
            text = ";\n".join(self._with_key(name, statement) for statement in self.statements(name))
            (output / f"{name}.sql").write_text(text + ";\n", encoding="utf-8")

    def restore_keys(self, name: str, golds: Iterable[str]) -> None:
        """Declare the primary keys that golds rely on and that the published DDL leaves out.

        Postgres takes `SELECT id, name ... GROUP BY id` only where `id` is the primary key. A column is declared one if
        that makes such a gold valid and the data bear it out.
        """
        for gold in golds:
            ungrouped = [
                fault
                for fault in analyse(gold, self.ddl(name), "postgres").faults
                if "must appear in the GROUP BY" in fault
            ]
            if not ungrouped:
                continue
            for table, column in self._candidates(name):
                self.added.setdefault(name, {})[table] = column
                if not any("must appear" in fault for fault in analyse(gold, self.ddl(name), "postgres").faults):
                    break
                del self.added[name][table]

    def _candidates(self, name: str) -> list[tuple[str, str]]:
        if name not in self._data:
            self._data[name] = load_dataset(self.folder / f"{name}.sql")
        data = self._data[name]
        found = []
        for table in data.schema.tables.values():
            if table.primary or table.name in self.added.get(name, {}):
                continue
            column = next(iter(table.columns))
            if _identifies(data, table, column):
                found.append((table.name, column))
        return found

    def _with_key(self, name: str, statement: str) -> str:
        head = _CREATE.search(statement)
        if head is None:
            return statement
        table = head.group("name").split(".")[-1].strip('"')
        column = self.added.get(name, {}).get(table)
        if column is None:
            return statement
        end = statement.rindex(")")
        return f'{statement[:end].rstrip()}, PRIMARY KEY ("{column}"))'


def _identifies(data: Dataset, table: Table, column: str) -> bool:
    values = [row[list(table.columns).index(column)] for row in data.rows[table.name]]
    return bool(values) and None not in values and len(set(values)) == len(values)


def _compact(statement: str) -> str:
    """One line, and names unquoted where they need no quotes: fewer tokens, the same meaning."""
    text = " ".join(statement.split())
    text = re.sub(
        r'"([a-z_][a-z0-9_]*)"', lambda found: found.group(0) if found.group(1) in _RESERVED else found.group(1), text
    )
    return re.sub(r"\(\s+", "(", re.sub(r"\s+\)", ")", text))


# Words that Postgres takes as a column's name in quotes alone.
_RESERVED = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema
    current_time current_timestamp current_user default deferrable desc distinct do else end except false fetch for
    foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral
    leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer overlaps
    placing primary references returning right select session_user similar some symmetric system_user table
    tablesample then to trailing true union unique user using variadic verbose when where window with
    """.split()  # noqa: SIM905
)


def sql_record(
    name: str, number: int, row: Mapping[str, Any], databases: Databases, meta: dict[str, Any]
) -> dict[str, Any]:
    """A text2sql record."""
    return {
        "id": f"{name}-{row['db_id']}-{number:04d}",
        "task": "text2sql",
        "input": row["question"],
        "gold": row["gold_postgres"].strip().rstrip(";"),
        "schema": databases.ddl(row["db_id"]),
        "dialect": "postgres",
        "database": row["db_id"],
        "meta": meta,
    }


def summary(output: Path, written: int, databases: Databases, left_out: Counter[str]) -> str:
    """What a converter prints."""
    lines = [f"{written} records in {output / 'records.jsonl'}"]
    lines += [f"left out: {count} {why}" for why, count in sorted(left_out.items())]
    lines += [
        f"primary key declared: {name}.{table}({column})"
        for name, keys in databases.added.items()
        for table, column in keys.items()
    ]
    return "\n".join(lines)
