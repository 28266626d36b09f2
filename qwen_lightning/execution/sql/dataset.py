"""The rows of one database, read from a databases folder, and how they get into an engine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from qwen_lightning.errors import DataError
from qwen_lightning.execution.sql.ddl import Schema, Table, declared, fold, read_schema
from qwen_lightning.execution.sql.ddl_text import as_ddl
from qwen_lightning.execution.sql.statements import split_statements, strip_comments

_DUCKDB_TYPES = {
    "int2": "SMALLINT", "int4": "INTEGER", "int8": "BIGINT", "float4": "REAL", "float8": "DOUBLE", "text": "VARCHAR",
    "varchar": "VARCHAR", "bpchar": "VARCHAR", "name": "VARCHAR", "bool": "BOOLEAN", "date": "DATE", "time": "TIME",
    "timetz": "TIMETZ", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMPTZ", "interval": "INTERVAL",
    "json": "JSON", "jsonb": "JSON", "uuid": "UUID", "bytea": "BLOB", "money": "DECIMAL(19, 2)",
}  # fmt: skip
_POSTGRES_TYPES = {
    "TINYINT": "int2", "SMALLINT": "int2", "INTEGER": "int4", "BIGINT": "int8", "HUGEINT": "numeric",
    "FLOAT": "float4", "DOUBLE": "float8", "VARCHAR": "text", "BOOLEAN": "bool", "DATE": "date", "TIME": "time",
    "TIMESTAMP": "timestamp", "INTERVAL": "interval", "TIMESTAMP WITH TIME ZONE": "timestamptz", "JSON": "json",
    "UUID": "uuid", "BLOB": "bytea", "UTINYINT": "int2", "USMALLINT": "int4", "UINTEGER": "int8",
    "UBIGINT": "numeric",
}  # fmt: skip
_INSERT = re.compile(
    r"""\s*INSERT\s+INTO\s+(?:ONLY\s+)?(?:(?:\w+|"[^"]+")\s*\.\s*)?(?P<table>\w+|"(?:[^"]|"")+")""", re.IGNORECASE
)
# Lines of a dump that speak to psql.
_PSQL_COMMAND = re.compile(r"(?m)^\\(restrict|unrestrict|connect|encoding|set)\b.*$")
# Statements of a dump that neither declare tables nor hold rows.
_PASSED_OVER = frozenset(
    {
        "SET",
        "BEGIN",
        "START",
        "COMMIT",
        "END",
        "COMMENT",
        "GRANT",
        "REVOKE",
        "ANALYZE",
        "VACUUM",
        "SELECT",
        "CREATE",
        "ALTER",
        "DROP",
    }
)

Row = tuple[Any, ...]


@dataclass(slots=True)
class Dataset:
    """A database's schema and rows. `numeric` holds precision and scale of declared numeric columns, `ddl` the text."""

    schema: Schema
    rows: dict[str, list[Row]]
    numeric: dict[tuple[str, str], str] = field(default_factory=dict)
    links: Any = None
    ddl: str = ""

    def duckdb_type(self, table: Table, column: str) -> str:
        """The DuckDB type that holds a Postgres column."""
        name = table.columns[column]
        if name == "numeric":
            return f"DECIMAL{self.numeric.get((table.name, column), '(38,10)')}"
        if name.startswith("_"):
            return _DUCKDB_TYPES.get(name[1:], "VARCHAR") + "[]"
        return _DUCKDB_TYPES.get(name, "VARCHAR")


def quote(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def create_tables(connection: duckdb.DuckDBPyConnection, namespace: str, dataset: Dataset) -> None:
    """Create the dataset's tables, without constraints, in a fresh DuckDB schema."""
    connection.execute(f"CREATE SCHEMA {quote(namespace)}")
    for table in dataset.schema.tables.values():
        columns = ", ".join(f"{quote(name)} {dataset.duckdb_type(table, name)}" for name in table.columns)
        connection.execute(f"CREATE TABLE {quote(namespace)}.{quote(table.name)} ({columns})")


def fill_tables(
    connection: duckdb.DuckDBPyConnection, namespace: str, dataset: Dataset, rows: dict[str, list[Row]]
) -> None:
    """Insert rows into tables made by `create_tables`."""
    for name, found in rows.items():
        if not found:
            continue
        table = dataset.schema.tables[name]
        picks = ", ".join(
            f"unnest(${i}::{dataset.duckdb_type(table, column)}[])" for i, column in enumerate(table.columns, start=1)
        )
        values = [list(column) for column in zip(*found, strict=True)]
        connection.execute(f"INSERT INTO {quote(namespace)}.{quote(name)} SELECT {picks}", values)


def load_dataset(path: Path) -> Dataset:
    """Read `<name>.sql` or `<name>.duckdb`.

    Raises:
        DataError: The file cannot be read as a database; the message names the statement.
    """
    return _load_sql(path) if path.suffix == ".sql" else _load_duckdb(path)


def read_ddl(path: Path) -> str:
    """The DDL of a database, whose rows are not read.

    Raises:
        DataError: The file cannot be read as a database.
    """
    return declared(_read_sql(path)[1]) if path.suffix == ".sql" else _load_duckdb(path, rows=False).ddl


def _load_sql(path: Path) -> Dataset:
    schema, declarations, inserts = _read_sql(path)
    dataset = Dataset(schema, {}, _numeric_types(declarations), ddl=declared(declarations))
    with duckdb.connect(":memory:", config={"threads": "1"}) as scratch:
        create_tables(scratch, "loading", dataset)
        for statement in inserts:
            _insert(scratch, statement, schema, path)
        dataset.rows = {
            name: scratch.execute(f"SELECT * FROM loading.{quote(name)}").fetchall() for name in schema.tables
        }
    return dataset


def _read_sql(path: Path) -> tuple[Schema, list[str], list[str]]:
    """The schema of a file, the statements that declare it, and those that fill it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", path) from None
    inserts: list[str] = []
    declarations: list[str] = []
    for statement in split_statements(_PSQL_COMMAND.sub("", text)):
        word = strip_comments(statement[:400]).split(None, 1)[0].upper()
        if word == "INSERT":
            inserts.append(statement)
        elif word in _PASSED_OVER:
            declarations.append(statement)
        else:
            raise DataError(
                f"cannot use {' '.join(statement.split())[:60]!r}; a databases folder holds DDL and INSERTs", path
            )
    try:
        schema = read_schema(";\n".join(declarations))
    except DataError as error:
        raise DataError(error.message, path) from None
    return schema, declarations, inserts


def _numeric_types(declarations: Iterable[str]) -> dict[tuple[str, str], str]:
    found = {}
    for statement in declarations:
        if "(" not in statement or not re.search(r"numeric|decimal", statement, re.IGNORECASE):
            continue
        try:
            tree = sqlglot.parse_one(statement, read="postgres")
        except SqlglotError:
            continue
        for column in tree.find_all(exp.ColumnDef):
            kind = column.args.get("kind")
            if (
                isinstance(kind, exp.DataType)
                and kind.this == exp.DType.DECIMAL
                and kind.expressions
                and isinstance(tree, exp.Create)
            ):
                width = ", ".join(part.name for part in kind.expressions)
                found[fold(tree.this.this.this), fold(column.this)] = f"({width})"
    return found


def _insert(scratch: duckdb.DuckDBPyConnection, statement: str, schema: Schema, path: Path) -> None:
    head = _INSERT.match(strip_comments(statement) if statement.lstrip().startswith(("--", "/*")) else statement)
    if head is None:
        raise DataError(f"cannot read {' '.join(statement.split())[:60]!r}", path)
    name = head.group("table")
    name = name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
    table = schema.tables.get(name)
    if table is None:
        raise DataError(f"INSERT into {name!r}, which no CREATE TABLE declares", path)
    body = head.string[head.end() :]
    target = f"INSERT INTO loading.{quote(name)}"
    # Arrays have another text form in DuckDB; such rows go through the parser, the rest is taken as it stands.
    if not any(kind.startswith("_") for kind in table.columns.values()):
        try:
            scratch.execute(target + body)
            return
        except duckdb.Error:
            pass
    try:
        scratch.execute(_translated_insert(head.string, table))
    except (duckdb.Error, SqlglotError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot insert {' '.join(body.split())[:60]!r} into {name!r}: {reason}", path) from None


def _translated_insert(statement: str, table: Table) -> str:
    tree = sqlglot.parse_one(statement, read="postgres")
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    target.set("db", exp.to_identifier("loading", quoted=True))
    target.set("this", exp.to_identifier(table.name, quoted=True))
    named = (
        [fold(column) for column in tree.this.expressions] if isinstance(tree.this, exp.Schema) else list(table.columns)
    )
    for row in tree.find_all(exp.Tuple):
        if not isinstance(row.parent, exp.Values):
            continue
        for column, value in zip(named, list(row.expressions), strict=False):
            kind = table.columns.get(column, "")
            if not (isinstance(value, exp.Literal) and value.is_string):
                continue
            if kind.startswith("_") and value.this.startswith("{"):
                items = [exp.null() if item is None else exp.Literal.string(item) for item in array_items(value.this)]
                value.replace(exp.Array(expressions=items))
            elif kind == "money":
                value.replace(exp.Literal.string(value.this.replace("$", "").replace(",", "")))
    return tree.sql("duckdb")


def array_items(text: str) -> list[str | None]:
    """The elements of a one-dimensional Postgres array literal, `{1,"two, three",NULL}`."""
    items: list[str | None] = []
    for quoted, bare in re.findall(r'"((?:[^"\\]|\\.)*)"|([^,{}]+)', text[1:-1]):
        if bare:
            items.append(None if bare.strip().upper() == "NULL" else bare.strip())
        else:
            items.append(re.sub(r"\\(.)", r"\1", quoted))
    return items


def _load_duckdb(path: Path, rows: bool = True) -> Dataset:
    try:
        connection = duckdb.connect(str(path), read_only=True, config={"threads": "1"})
    except duckdb.Error as error:
        raise DataError(f"is no DuckDB database: {str(error).splitlines()[0]}", path) from None
    schema, numeric, found = Schema(), {}, {}
    with connection:
        listed = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE NOT internal AND schema_name = 'main' "
            "AND table_oid IN (SELECT table_oid FROM duckdb_tables()) ORDER BY table_name, column_index"
        ).fetchall()
        for name, column, kind in listed:
            table = schema.tables.setdefault(name, Table(name))
            plain = kind.removesuffix("[]")
            known = "numeric" if plain.startswith("DECIMAL") else _POSTGRES_TYPES.get(plain, "text")
            table.columns[column] = "_" + known if kind.endswith("[]") else known
            if plain.startswith("DECIMAL"):
                numeric[name, column] = plain.removeprefix("DECIMAL")
        for name, columns in _duckdb_keys(connection):
            if name in schema.tables:
                schema.tables[name].unique.append(tuple(columns))
        for name in schema.tables if rows else ():
            found[name] = connection.execute(f"SELECT * FROM {quote(name)}").fetchall()
    if not schema.tables:
        raise DataError("holds no table", path)
    return Dataset(schema, found, numeric, ddl=as_ddl(schema, numeric))


def _duckdb_keys(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, list[str]]]:
    query = (
        "SELECT table_name, constraint_column_names FROM duckdb_constraints() "
        "WHERE constraint_type IN ('PRIMARY KEY', 'UNIQUE')"
    )
    yield from connection.execute(query).fetchall()
