"""Binds a query's names as Postgres does: FROM items, scopes, CTEs, output columns, clause by clause.

The rules are those of the Postgres manual (SELECT reference page; 7.2 Table Expressions) and of its parser's messages.
"""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from qwen_lightning.execution.sql.binding import Output, Scope
from qwen_lightning.execution.sql.catalog import ANY_TYPE, common_type
from qwen_lightning.execution.sql.ddl import Schema, fold
from qwen_lightning.execution.sql.expressions import Expressions
from qwen_lightning.execution.sql.from_clause import Ctes
from qwen_lightning.execution.sql.grouping import check_grouping, is_aggregated
from qwen_lightning.execution.sql.parsing import NotParsed, parse_query
from qwen_lightning.execution.sql.select_clauses import SelectClauses

# Clauses that the grammar takes and Postgres does not.
_ALIEN_CLAUSES = {
    "qualify": "QUALIFY", "cluster": "CLUSTER BY", "distribute": "DISTRIBUTE BY", "sort": "SORT BY",
    "laterals": "LATERAL VIEW", "connect": "CONNECT BY", "prewhere": "PREWHERE", "settings": "SETTINGS",
    "format": "FORMAT", "match": "MATCH_RECOGNIZE", "hint": "hints", "kind": "SELECT AS", "exclude": "EXCLUDE",
    "pivots": "PIVOT",
}  # fmt: skip


class Binder(SelectClauses):
    """Binds one query against a schema; what it finds is in `findings`."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.expressions = Expressions(self, self.findings)

    def query(self, node: exp.Expr, ctes: Ctes, outer: Scope | None, top: bool = False) -> list[Output]:
        """Bind a query and return its columns."""
        ctes = self._with(node, ctes, outer)
        if not top and any(node.args.get(name) is not None for name in ("limit", "offset")):
            self.findings.order_dependent = True
        if isinstance(node, exp.Select):
            return self._select(node, ctes, outer)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, ctes, outer)
        if isinstance(node, exp.Subquery):
            inner = node.this
            if isinstance(inner, exp.Table):
                scope = Scope(outer)
                self._from_item(inner, scope, ctes, 0)
                return [output for relation in scope.relations for output in relation.columns]
            outputs = self.query(inner, ctes, outer, top and not node.args.get("limit"))
            self._order_by_outputs(node, outputs, outer)
            return outputs
        if isinstance(node, exp.Values):
            return self._values(node, outer, ctes)
        return []

    def _with(self, node: exp.Expr, ctes: Ctes, outer: Scope | None) -> Ctes:
        clause = node.args.get("with_")
        if clause is None:
            return ctes
        known = dict(ctes)
        here: set[str] = set()
        for cte in clause.expressions:
            alias = cte.args["alias"]
            name = fold(alias.this)
            if name in here:
                self.findings.fault(f'WITH query name "{name}" specified more than once')
            here.add(name)
            self.query_aliases.add(name)
            columns = [fold(column) for column in alias.args.get("columns") or ()]
            before, self.tables = self.tables, set()
            body = cte.this
            if clause.args.get("recursive") and isinstance(body, exp.Union):
                first = self.query(body.left, known, outer)
                outputs = self._renamed([replace(output, constant=False) for output in first], columns, name)
                inner = {**known, name: (outputs, frozenset())}
                self.query(body, inner, outer)
            else:
                outputs = self._renamed(self.query(body, known, outer), columns, name)
            known[name] = (outputs, frozenset(self.tables))
            self.tables = before
        return known

    def _set_operation(self, node: exp.SetOperation, ctes: Ctes, outer: Scope | None) -> list[Output]:
        if any(node.args.get(name) for name in ("by_name", "side", "on")) or node.args.get("kind"):
            self.findings.alien("set operations BY NAME are not Postgres's")
        sides = [self.query(node.left, ctes, outer), self.query(node.right, ctes, outer)]
        word = node.key.upper()
        if (
            all(sides)
            and len(sides[0]) != len(sides[1])
            and not any(output.name == "*" for side in sides for output in side)
        ):
            self.findings.fault(f"each {word} query must have the same number of columns")
            return sides[0]
        outputs = []
        for left, right in zip(sides[0], sides[1], strict=False):
            kind = common_type([left.type, right.type])
            if kind is None:
                self.findings.fault(f"{word} types {left.type} and {right.type} cannot be matched")
            outputs.append(Output(left.name, kind or ANY_TYPE, left.constant and right.constant, left.source))
        self._order_by_outputs(node, outputs, outer)
        return outputs

    def _order_by_outputs(self, node: exp.Expr, outputs: list[Output], outer: Scope | None) -> None:
        order = node.args.get("order")
        for item in order.expressions if order is not None else ():
            key = item.this if isinstance(item, exp.Ordered) else item
            if isinstance(key, exp.Literal) and not key.is_string:
                self._ordinal(key, len(outputs), "ORDER BY")
            elif isinstance(key, exp.Column) and not key.table:
                if not any(output.name in (fold(key.this), "*") for output in outputs):
                    self.expressions.unknown_column(key, None)
            else:
                self.findings.fault(
                    "invalid UNION/INTERSECT/EXCEPT ORDER BY clause: only result column names can be used"
                )

    def _values(self, node: exp.Values, outer: Scope | None, ctes: Ctes) -> list[Output]:
        rows = [row.expressions if isinstance(row, exp.Tuple) else [row.unnest()] for row in node.expressions]
        if len({len(row) for row in rows}) > 1:
            self.findings.fault("VALUES lists must all be the same length")
        scope = Scope(outer)
        with self.expressions.using(ctes):
            kinds = [[self.expressions.type_of(value, scope, "VALUES") for value in row] for row in rows]
        types = [common_type(column) for column in zip(*kinds, strict=False)]
        if None in types:
            self.findings.fault("VALUES types cannot be matched")
        return [Output(f"column{i}", kind or ANY_TYPE, constant=True) for i, kind in enumerate(types, start=1)]

    def _select(self, node: exp.Select, ctes: Ctes, outer: Scope | None) -> list[Output]:
        for name, words in _ALIEN_CLAUSES.items():
            if node.args.get(name):
                self.findings.alien(f"{words} is not Postgres's")
        scope = Scope(
            outer, aliases={fold(item.args["alias"]) for item in node.expressions if isinstance(item, exp.Alias)}
        )
        source = node.args.get("from_")
        if source is not None:
            self._from_item(source.this, scope, ctes, 0)
        for number, join in enumerate(node.args.get("joins") or (), start=1):
            self._join(join, scope, ctes, number)
        with self.expressions.using(ctes):
            return self._clauses(node, scope)

    def _clauses(self, node: exp.Select, scope: Scope) -> list[Output]:
        expressions = self.expressions
        aliases = {fold(item.args["alias"]): item.this for item in node.expressions if isinstance(item, exp.Alias)}
        named, expressions.windows = expressions.windows, {fold(each.this) for each in node.args.get("windows") or ()}
        if (where := node.args.get("where")) is not None:
            expressions.boolean(where.this, scope, "WHERE")
        outputs, expanded = self._select_list(node, scope)
        keys, sets = self._group_keys(node, scope, aliases, expanded)
        if (having := node.args.get("having")) is not None:
            expressions.boolean(having.this, scope, "HAVING")
        for window in node.args.get("windows") or ():
            expressions.window_parts(window, scope)
        ordered = self._order_keys(node, scope, aliases, expanded)
        for name in ("limit", "offset"):
            self._limit(node.args.get(name))
        grouped = (
            keys is not None or having is not None or any(is_aggregated(item) for item in [*node.expressions, *ordered])
        )
        if grouped:
            checked = [*expanded, *([having.this] if having is not None else []), *ordered]
            check_grouping(self, scope, keys or [], checked, sets)
        self._distinct(node, scope, expanded, ordered, aliases)
        expressions.windows = named
        return outputs

    def view(self, name: str) -> list[Output]:
        """The columns of a view; an empty scope of its own, no CTEs."""
        self.tables.add(name)
        inner = Binder(self.schema)
        try:
            outputs = inner.query(parse_query(self.schema.views[name]).tree, {}, None)
        except NotParsed:
            return [Output("*", ANY_TYPE)]
        self.tables |= inner.tables
        return outputs
