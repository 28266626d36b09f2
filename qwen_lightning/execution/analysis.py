"""Static analysis of a query against the DDL of its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from qwen_lightning.execution.binding import Call
from qwen_lightning.execution.ddl import fold, read_schema
from qwen_lightning.execution.parsing import NotParsed, Parsed, parse_query


@dataclass(slots=True)
class Analysis:
    parses: bool
    parsed: Parsed | None = None
    references: bool = True
    dialect: bool = True
    faults: list[str] = field(default_factory=list)
    detail: str = ""
    tables: frozenset[str] = frozenset()
    constant: bool = False
    volatile: bool = False
    order_dependent: bool = False
    calls: Mapping[int, Call] = field(default_factory=dict)
    literals: Mapping[tuple[str, str], Sequence[Any]] = field(default_factory=dict)


def analyse(query: str, schema: str, dialect: str) -> Analysis:
    try:
        parsed = parse_query(query)
    except NotParsed as error:
        return Analysis(False, detail=str(error), references=False, dialect=False)
    from qwen_lightning.execution.translation import is_cte_reference
    known = read_schema(schema)
    tables = {fold(t.this) for t in parsed.native.find_all(exp.Table) if isinstance(t.this, exp.Identifier) and not is_cte_reference(t)}
    missing = tables - known.tables.keys()
    return Analysis(True, parsed, references=not missing, faults=[f"no table {m}" for m in missing], detail=f"no table {missing}" if missing else "", tables=frozenset(tables - missing))
