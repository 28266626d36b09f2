"""Tables as Postgres DDL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from qwen_lightning.execution.sql.catalog import ANY_TYPE
from qwen_lightning.execution.sql.ddl import Schema, Table

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
#: Words that name nothing unless they are quoted (Postgres manual, appendix C).
_RESERVED = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true
    union unique user using variadic verbose when where window with
    """.split()  # noqa: SIM905
)
#: Names of types that are written otherwise than Postgres keeps them.
_TYPES = {
    "int2": "SMALLINT", "int4": "INTEGER", "int8": "BIGINT", "float4": "REAL", "float8": "DOUBLE PRECISION",
    "bool": "BOOLEAN", "bpchar": "CHAR", ANY_TYPE: "TEXT",
}  # fmt: skip


def as_ddl(schema: Schema, numeric: Mapping[tuple[str, str], str]) -> str:
    """The DDL of a schema's tables.

    Args:
        schema: The tables.
        numeric: Precision and scale of numeric columns, as `(6,2)`, by table and column.
    """
    return "\n".join(_create(table, numeric) for table in schema.tables.values())


def identifier(name: str) -> str:
    """A name as Postgres reads it back."""
    plain = _PLAIN.fullmatch(name) and name not in _RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'


def _create(table: Table, numeric: Mapping[tuple[str, str], str]) -> str:
    parts = []
    for name, kind in table.columns.items():
        plain = kind.removeprefix("_")
        size = numeric.get((table.name, name), "").replace(" ", "") if plain == "numeric" else ""
        parts.append(f"{identifier(name)} {_TYPES.get(plain, plain.upper())}{size}{'[]' * (plain != kind)}")
    if table.primary:
        parts.append(f"PRIMARY KEY ({_list(table.primary)})")
    parts += [f"UNIQUE ({_list(key)})" for key in table.unique]
    return f"CREATE TABLE {identifier(table.name)} ({', '.join(parts)});"


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(identifier, names))
