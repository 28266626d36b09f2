"""Static analysis of a Postgres query against the DDL of its record: what Postgres itself would refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from qwen_lightning.errors import DataError
from qwen_lightning.execution.sql.binder import Binder
from qwen_lightning.execution.sql.binding import Call
from qwen_lightning.execution.sql.ddl import read_schema
from qwen_lightning.execution.sql.parsing import NotParsed, Parsed, parse_query
from qwen_lightning.execution.sql.wanted import Wanted


@dataclass(slots=True)
class Analysis:
    """What is known of a query before it runs.

    Args:
        parses: It is one read query.
        parsed: Its trees; None where it does not parse.
        references: Every table and column stands in the schema.
        dialect: Only Postgres's syntax and functions are used.
        faults: Everything that Postgres would refuse, the two above included.
        detail: The faults in one line.
        tables: Tables that the result can hang on; those of unused CTEs are not among them.
        columns: Names of the output columns, as Postgres names them.
        constant: Its output hangs on no table.
        volatile: It calls a function whose value changes from call to call.
        order_dependent: Its result may hang on the physical order of rows.
        calls: Function calls by position in the text.
        dependent: Positions of columns that stand ungrouped because a grouped primary key determines them.
        wanted: Values that it looks for, and columns that it joins.
    """

    parses: bool
    parsed: Parsed | None = None
    references: bool = True
    dialect: bool = True
    faults: Sequence[str] = ()
    detail: str = ""
    tables: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    constant: bool = False
    volatile: bool = False
    order_dependent: bool = False
    calls: Mapping[int, Call] = field(default_factory=dict)
    dependent: Set[int] = frozenset()
    wanted: Wanted = field(default_factory=Wanted)


def analyse(query: str, schema: str, dialect: str) -> Analysis:
    """Analyse one query.

    Raises:
        DataError: The schema cannot be read, or the dialect is not Postgres.
    """
    if dialect.lower() not in ("postgres", "postgresql"):
        raise DataError(f"dialect {dialect!r} cannot be verified; postgres can")
    known = read_schema(schema)
    try:
        parsed = parse_query(query)
    except NotParsed as error:
        return Analysis(False, references=False, dialect=False, detail=f"does not parse: {error}")
    binder = Binder(known)
    try:
        outputs = binder.query(parsed.tree, {}, None, top=True)
    except RecursionError:
        return Analysis(False, references=False, dialect=False, detail="does not parse: nested too deeply")
    found = binder.findings
    for message in parsed.alien:
        found.alien(message)
    return Analysis(
        True,
        parsed,
        references=not found.missing,
        dialect=not found.foreign,
        faults=tuple(found.faults),
        detail="; ".join(found.faults[:3]),
        tables=frozenset(binder.tables),
        columns=tuple(output.name for output in outputs),
        constant=bool(outputs) and all(output.constant for output in outputs),
        volatile=found.volatile,
        order_dependent=found.order_dependent,
        calls=found.calls,
        dependent=found.dependent,
        wanted=found.wanted,
    )
