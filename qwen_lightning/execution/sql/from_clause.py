"""The FROM clause: tables, subqueries, functions and joins, and what names they bring into sight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlglot import exp

from qwen_lightning.execution.sql.binding import Findings, Output, Relation, Scope
from qwen_lightning.execution.sql.catalog import ANY_TYPE, catalog, common_type, type_name
from qwen_lightning.execution.sql.ddl import Schema, fold
from qwen_lightning.execution.sql.expressions import Expressions
from qwen_lightning.execution.sql.parsing import call_name

Ctes = Mapping[str, tuple[list[Output], frozenset[str]]]
_SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "pg_toast"})
_ALIEN_TABLE_PARTS = ("hints", "version", "when", "changes", "partition", "pattern", "format", "pivots", "index")


class FromClause(ABC):
    """Binds FROM items into a scope.

    Args:
        schema: What tables there are.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.findings = Findings()
        self.expressions: Expressions
        self.tables: set[str] = set()
        self.query_aliases: set[str] = set()

    @abstractmethod
    def query(self, node: exp.Expr, ctes: Ctes, outer: Scope | None, top: bool = False) -> list[Output]:
        """Bind a query and return its columns."""

    @abstractmethod
    def view(self, name: str) -> list[Output]:
        """The columns of a view."""

    def _join(self, join: exp.Join, scope: Scope, ctes: Ctes, number: int) -> None:
        comma = not any(join.args.get(name) for name in ("on", "using", "kind", "method", "side"))
        if (join.args.get("kind") or "").upper() in ("SEMI", "ANTI", "APPLY", "ASOF", "STRAIGHT"):
            self.findings.alien(f"{join.args['kind']} JOIN is not Postgres's")
        group = number if comma else (scope.relations[-1].group if scope.relations else 0)
        left = [relation for relation in scope.relations if relation.group == group]
        before = len(scope.relations)
        self._from_item(join.this, scope, ctes, group)
        right = scope.relations[before:]
        using = [fold(name if isinstance(name, exp.Identifier) else name.this) for name in join.args.get("using") or ()]
        if (join.args.get("method") or "").upper() == "NATURAL":
            names = {output.name for relation in left for output in relation.columns}
            using = [output.name for relation in right for output in relation.columns if output.name in names]
        for name in using:
            self._merge(name, left, right, scope)
        condition = join.args.get("on")
        if condition is not None:
            scope.group = group
            with self.expressions.using(ctes):
                self.expressions.boolean(condition, scope, "JOIN")
            scope.group = None

    def _merge(self, name: str, left: list[Relation], right: list[Relation], scope: Scope) -> None:
        found = []
        for side, word in ((left, "left"), (right, "right")):
            holders = [output for relation in side if (output := relation.find(name)) is not None]
            if not holders and not any(relation.open for relation in side):
                self.findings.miss(f'column "{name}" specified in USING clause does not exist in {word} table')
            if len(holders) > 1 and name not in scope.merged:
                self.findings.fault(f'common column name "{name}" appears more than once in {word} table')
            found += holders[:1]
        if len(found) == 2:
            kind = common_type([found[0].type, found[1].type])
            if kind is None:
                self.findings.fault(f"JOIN/USING types {found[0].type} and {found[1].type} cannot be matched")
            scope.merged[name] = Output(name, kind or ANY_TYPE, False, found[0].source)

    def _from_item(self, node: exp.Expr, scope: Scope, ctes: Ctes, group: int) -> None:
        if isinstance(node, exp.Lateral):
            self._lateral(node, scope, ctes, group)
            return
        alias = node.args.get("alias")
        name = fold(alias.this) if alias is not None and alias.this is not None else ""
        columns = (
            [column for column in (alias.args.get("columns") or ()) if column is not None] if alias is not None else []
        )
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            before = len(scope.relations)
            self._from_item(node.this, scope, ctes, group)
            if name:
                inner = scope.relations[before:]
                del scope.relations[before:]
                self._add(
                    scope,
                    Relation(name, [output for relation in inner for output in relation.columns], group=group),
                    columns,
                )
            self._own_joins(node, scope, ctes, group)
            return
        if isinstance(node, exp.Table):
            self._table(node, name, columns, scope, ctes, group)
            self._own_joins(node, scope, ctes, group)
            return
        if isinstance(node, exp.Unnest):
            self._function(node.expressions, "unnest", node, name, columns, scope, ctes, group)
            return
        outputs = self.query(node, ctes, scope.outer)
        self._add(
            scope, Relation(name, outputs, group=group, open=any(output.name == "*" for output in outputs)), columns
        )
        self._own_joins(node, scope, ctes, group)

    def _own_joins(self, node: exp.Expr, scope: Scope, ctes: Ctes, group: int) -> None:
        for join in node.args.get("joins") or ():
            self._join(join, scope, ctes, group)

    def _lateral(self, node: exp.Lateral, scope: Scope, ctes: Ctes, group: int) -> None:
        if node.args.get("view") or node.args.get("outer") or node.args.get("cross_apply") is not None:
            self.findings.alien("LATERAL VIEW and APPLY are not Postgres's")
        alias = node.args.get("alias")
        name = fold(alias.this) if alias is not None and alias.this is not None else ""
        columns = list(alias.args.get("columns") or ()) if alias is not None else []
        inner = node.this
        if isinstance(inner, (exp.Unnest, exp.Anonymous, exp.Func)):
            arguments = inner.expressions
            self._function(
                arguments, "unnest" if isinstance(inner, exp.Unnest) else inner, node, name, columns, scope, ctes, group
            )
            return
        outputs = self.query(inner, ctes, scope)
        self._add(
            scope, Relation(name, outputs, group=group, open=any(output.name == "*" for output in outputs)), columns
        )

    def _table(self, node: exp.Table, name: str, columns: list[exp.Expr], scope: Scope, ctes: Ctes, group: int) -> None:
        if any(node.args.get(name) for name in _ALIEN_TABLE_PARTS):
            self.findings.alien("hints, versions and partitions of a table are not Postgres's")
        if node.args.get("rows_from"):
            for part in node.args["rows_from"]:
                with self.expressions.using(ctes):
                    self.expressions.type_of(part.this, scope, "FROM")
            self._add(scope, Relation(name, [], open=True, group=group), columns)
            return
        if not isinstance(node.this, exp.Identifier):
            self._function(node.this.expressions, node.this, node, name, columns, scope, ctes, group)
            return
        table = fold(node.this)
        namespace = fold(node.args.get("db"))
        if not namespace and table in ctes:
            outputs, read = ctes[table]
            self.tables |= read
            self._add(
                scope,
                Relation(name or table, list(outputs), group=group, open=any(o.name == "*" for o in outputs)),
                columns,
            )
            return
        known = self.schema.tables.get(table)
        if table in self.schema.views and not known:
            self._add(scope, Relation(name or table, self.view(table), open=False, group=group), columns)
            return
        if (
            known is None
            or (namespace and namespace not in (known.namespace, "public"))
            or namespace in _SYSTEM_SCHEMAS
        ):
            self.findings.miss(f'relation "{namespace + "." if namespace else ""}{table}" does not exist')
            self._add(scope, Relation(name or table, [], open=True, group=group), columns)
            return
        self.tables.add(table)
        outputs = [Output(column, kind, source=(table, column)) for column, kind in known.columns.items()]
        self._add(scope, Relation(name or table, outputs, table=table, group=group), columns)

    def _function(
        self, arguments: list[exp.Expr], function: exp.Expr | str, node: exp.Expr, name: str, columns: list[exp.Expr],
        scope: Scope, ctes: Ctes, group: int,
    ) -> None:  # fmt: skip
        with self.expressions.using(ctes):
            if isinstance(function, str):
                kinds = [self.expressions.type_of(argument, scope, "FROM") for argument in arguments]
                called, result = function, kinds[0][1:] if len(kinds) == 1 and kinds[0].startswith("_") else ANY_TYPE
                if len(kinds) == 1 and not kinds[0].startswith("_") and kinds[0] in catalog().categories:
                    self.findings.fault(f"function unnest({kinds[0]}) does not exist")
            else:
                result = self.expressions.type_of(function, scope, "FROM")
                called = call_name(function) if isinstance(function, exp.Anonymous) else function.key
        defined = [column for column in columns if isinstance(column, exp.ColumnDef)]
        ordinality = bool(node.args.get("ordinality")) or bool(node.args.get("offset"))
        if defined:
            outputs = [
                Output(fold(c.this), type_name(c.args["kind"]) if c.args.get("kind") else ANY_TYPE) for c in defined
            ]
            self._add(scope, Relation(name or called, outputs, group=group), [])
            return
        signatures = catalog().functions.get(called, [])
        record = any(signature.result == "record" for signature in signatures) or (
            result == ANY_TYPE and not signatures
        )
        if (record and len(arguments) < 2 and called != "unnest") or (len(arguments) > 1 and called == "unnest"):
            outputs = [Output(fold(column), ANY_TYPE) for column in columns]
            self._add(scope, Relation(name or called, outputs, open=not columns, group=group), [])
            return
        outputs = [Output(name or called, result)]
        if ordinality:
            outputs.append(Output("ordinality", "int8"))
            offset = node.args.get("offset")
            if isinstance(offset, exp.Identifier):
                columns = [*columns, offset]
        self._add(scope, Relation(name or called, outputs, group=group), columns)

    def _add(self, scope: Scope, relation: Relation, columns: Sequence[exp.Expr]) -> None:
        names = [fold(column) for column in columns]
        if names:
            if relation.open:
                relation.columns = [Output(name, ANY_TYPE) for name in names]
            else:
                relation.columns = self._renamed(relation.columns, names, relation.name)
        if relation.name and any(relation.name == other.name for other in scope.relations):
            self.findings.fault(f'table name "{relation.name}" specified more than once')
        if relation.name:
            self.query_aliases.add(relation.name)
        scope.relations.append(relation)

    def _renamed(self, outputs: list[Output], names: Sequence[str], relation: str) -> list[Output]:
        if len(names) > len(outputs):
            if outputs:
                self.findings.fault(
                    f'"{relation}" has {len(outputs)} columns available but {len(names)} columns specified'
                )
            return [Output(name, ANY_TYPE) for name in names]
        return [replace(output, name=name) for output, name in zip(outputs, names, strict=False)] + outputs[
            len(names) :
        ]
