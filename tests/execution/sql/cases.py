"""Reads the SQL fixtures: one query a line, headed by comments that name database, gold or kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2] / "fixtures" / "sql"
DATABASES = ROOT / "databases"


@dataclass(frozen=True, slots=True)
class Case:
    """A query and what stands above it."""

    query: str
    database: str
    gold: str | None
    kind: str

    @property
    def schema(self) -> str:
        """The database's DDL, with its rows."""
        return ddl(self.database)


def ddl(database: str) -> str:
    """The text of a fixture database."""
    return (DATABASES / f"{database}.sql").read_text(encoding="utf-8")


def read_cases(name: str, database: str = "") -> list[Case]:
    """All cases of a fixture file."""
    cases, gold, kind = [], None, ""
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("-- database: "):
            database = line.removeprefix("-- database: ")
        elif line.startswith("-- gold: "):
            gold = line.removeprefix("-- gold: ")
        elif line.startswith("-- "):
            kind = line.removeprefix("-- ")
        elif line.strip():
            cases.append(Case(line, database, gold, kind))
    assert cases
    return cases
