"""The tables, columns, types and keys that Postgres DDL declares."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from qwen_lightning.errors import DataError
from qwen_lightning.execution.sql.catalog import ANY_TYPE, type_name
from qwen_lightning.execution.sql.statements import split_statements, strip_comments


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`columns` take their values from `target_columns` of `target` (its primary key where these are empty)."""

    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(slots=True)
class Table:
    """One table. Names are folded as Postgres folds them; types are Postgres's own names, `?` where not known."""

    name: str
    namespace: str = "public"
    columns: dict[str, str] = field(default_factory=dict)
    primary: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = field(default_factory=list)
    not_null: set[str] = field(default_factory=set)
    foreign: list[ForeignKey] = field(default_factory=list)

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """Column groups that are unique together."""
        return ([self.primary] if self.primary else []) + self.unique


@dataclass(slots=True)
class Schema:
    """Tables and views (name to query text) by name."""

    tables: dict[str, Table] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    enums: set[str] = field(default_factory=set)


def fold(identifier: exp.Expr | None) -> str:
    """A name as Postgres stores it: unquoted ones in lower case."""
    if not isinstance(identifier, exp.Identifier):
        return "" if identifier is None else identifier.name.lower()
    return identifier.name if identifier.args.get("quoted") else identifier.name.lower()


@functools.lru_cache(maxsize=256)
def read_schema(text: str) -> Schema:
    """Read DDL; statements that declare no table, key or view are passed over.

    Raises:
        DataError: The text declares no table, or a CREATE TABLE cannot be read.
    """
    schema = Schema()
    for statement in split_statements(text):
        words = _words(statement)
        if not _declares(words):
            continue
        try:
            tree = sqlglot.parse_one(statement, read="postgres")
        except (SqlglotError, AttributeError, RecursionError):
            if words[:2] == ["CREATE", "TABLE"]:
                raise DataError(
                    f"schema: cannot read {' '.join(statement.split())[:80]!r}; give plain Postgres DDL"
                ) from None
            continue
        if isinstance(tree, exp.Create):
            _create(schema, tree)
        elif isinstance(tree, exp.Alter):
            _alter(schema, tree)
    if not schema.tables and not schema.views:
        raise DataError("schema declares no table; give Postgres DDL (CREATE TABLE name (column type, ...);)")
    return schema


def declared(statements: Iterable[str]) -> str:
    """The statements among these that declare tables, views, types or keys, as one text."""
    return "\n".join(f"{statement};" for statement in statements if _declares(_words(statement)))


def _words(statement: str) -> list[str]:
    return strip_comments(statement).upper().replace("(", " ").split()


def _declares(words: list[str]) -> bool:
    creates = words[0] == "CREATE" and bool({"TABLE", "VIEW", "TYPE"} & set(words[1:5]))
    return creates or (words[:2] == ["ALTER", "TABLE"] and "ADD" in words)


def _create(schema: Schema, tree: exp.Create) -> None:
    kind, target = tree.args.get("kind"), tree.this
    named = target.this if isinstance(target, exp.Schema) else target
    name = fold(named.this)
    if kind == "TYPE":
        schema.enums.add(name)
    elif kind == "VIEW" and tree.expression is not None:
        schema.views[name] = tree.expression.sql("postgres")
    elif kind == "TABLE":
        table = Table(name, fold(named.args.get("db")) or "public")
        if isinstance(target, exp.Schema):
            for part in target.expressions:
                _table_part(schema, table, part)
        if (properties := tree.args.get("properties")) is not None:
            for parent in _parents(properties):
                if parent in schema.tables:
                    table.columns = {**schema.tables[parent].columns, **table.columns}
        if tree.expression is not None:  # CREATE TABLE AS: a query's columns, as a view's
            schema.views[name] = tree.expression.sql("postgres")
        elif table.columns:
            schema.tables[name] = table


def _parents(properties: exp.Expr) -> Iterator[str]:
    for node in properties.expressions:
        if isinstance(node, (exp.PartitionedOfProperty, exp.InheritsProperty, exp.LikeProperty)):
            for table in node.find_all(exp.Table):
                yield fold(table.this)


def _table_part(schema: Schema, table: Table, part: exp.Expr) -> None:
    if isinstance(part, exp.ColumnDef):
        column = fold(part.this)
        kind = part.args.get("kind")
        table.columns[column] = type_name(kind) if isinstance(kind, exp.DataType) else ANY_TYPE
        for constraint in part.args.get("constraints") or ():
            rule = constraint.args.get("kind")
            if isinstance(rule, exp.PrimaryKeyColumnConstraint):
                table.primary = (column,)
                table.not_null.add(column)
            elif isinstance(rule, exp.UniqueColumnConstraint):
                table.unique.append((column,))
            elif isinstance(rule, exp.NotNullColumnConstraint) and not rule.args.get("allow_null"):
                table.not_null.add(column)
            elif isinstance(rule, exp.Reference):
                table.foreign.append(_reference((column,), rule))
    elif isinstance(part, exp.LikeProperty):
        source = schema.tables.get(fold(part.this.this))
        if source is not None:
            table.columns.update(source.columns)
    elif isinstance(part, exp.Constraint):
        for inner in part.expressions:
            _table_part(schema, table, inner)
    elif isinstance(part, exp.PrimaryKey):
        table.primary = _names(part.expressions)
        table.not_null.update(table.primary)
    elif isinstance(part, exp.UniqueColumnConstraint):
        columns = part.this.expressions if isinstance(part.this, exp.Schema) else [part.this]
        table.unique.append(_names(columns))
    elif isinstance(part, exp.ForeignKey) and isinstance(part.args.get("reference"), exp.Reference):
        table.foreign.append(_reference(_names(part.expressions), part.args["reference"]))


def _names(nodes: list[exp.Expr]) -> tuple[str, ...]:
    return tuple(fold(node if isinstance(node, exp.Identifier) else node.find(exp.Identifier)) for node in nodes)


def _reference(columns: tuple[str, ...], rule: exp.Reference) -> ForeignKey:
    target = rule.this
    if isinstance(target, exp.Schema):
        return ForeignKey(columns, fold(target.this.this), _names(target.expressions))
    return ForeignKey(columns, fold(target.this), ())


def _alter(schema: Schema, tree: exp.Alter) -> None:
    table = schema.tables.get(fold(tree.this.this))
    if table is None:
        return
    for action in tree.args.get("actions") or ():
        if isinstance(action, exp.AddConstraint):
            for constraint in action.expressions:
                _table_part(schema, table, constraint)
        elif isinstance(action, exp.ColumnDef):
            _table_part(schema, table, action)


def resolve_foreign(schema: Schema, table: Table) -> list[ForeignKey]:
    """The foreign keys of `table` with their target columns filled in; those that lead nowhere are left out."""
    found = []
    for key in table.foreign:
        target = schema.tables.get(key.target)
        if target is None:
            continue
        columns = key.target_columns or target.primary
        if len(columns) == len(key.columns) and set(columns) <= target.columns.keys():
            found.append(replace(key, target_columns=columns))
    return found
