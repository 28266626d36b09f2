"""Binds a query's names as Postgres does: FROM items, scopes, CTEs, output columns, clause by clause.

The rules are those of the Postgres manual (SELECT reference page; 7.2 Table Expressions) and of its parser's messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlglot import exp

from qwen_lightning.execution.binding import Findings, Output, Relation, Scope
from qwen_lightning.execution.catalog import ANY_TYPE, catalog, common_type, type_name
from qwen_lightning.execution.ddl import Schema, fold
from qwen_lightning.execution.expressions import Expressions
from qwen_lightning.execution.grouping import check_grouping, is_aggregated
from qwen_lightning.execution.parsing import NotParsed, call_name, parse_query

Ctes = Mapping[str, tuple[list[Output], frozenset[str]]]
_SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "pg_toast"})
# Clauses that the grammar takes and Postgres does not.
_ALIEN_CLAUSES = {"qualify": "QUALIFY", "cluster": "CLUSTER BY", "distribute": "DISTRIBUTE BY", "sort": "SORT BY", "laterals": "LATERAL VIEW",
                  "connect": "CONNECT BY", "prewhere": "PREWHERE", "settings": "SETTINGS", "format": "FORMAT", "match": "MATCH_RECOGNIZE",
                  "hint": "hints", "kind": "SELECT AS", "exclude": "EXCLUDE", "pivots": "PIVOT"}  # fmt: skip


class Binder:
    """Binds one query against a schema; what it finds is in `findings`."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.findings = Findings()
        self.expressions = Expressions(self, self.findings)
        self.tables: set[str] = set()
        self.query_aliases: set[str] = set()

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
        if (where := node.args.get("where")) is not None:
            expressions.boolean(where.this, scope, "WHERE")
        outputs, expanded = self._select_list(node, scope)
        keys, sets = self._group_keys(node, scope, aliases, expanded)
        if (having := node.args.get("having")) is not None:
            expressions.boolean(having.this, scope, "HAVING")
        for window in node.args.get("windows") or ():
            expressions.window_parts(window, scope)
            expressions.windows.add(fold(window.this))
        ordered = self._order_keys(node, scope, aliases, expanded)
        for name in ("limit", "offset"):
            self._limit(node.args.get(name))
        grouped = (
            keys is not None
            or having is not None
            or any(is_aggregated(item, self) for item in [*node.expressions, *ordered])
        )
        if grouped:
            checked = [*expanded, *([having.this] if having is not None else []), *ordered]
            check_grouping(self, scope, keys or [], checked, sets)
        self._distinct(node, scope, expanded, ordered, aliases)
        return outputs

    def _select_list(self, node: exp.Select, scope: Scope) -> tuple[list[Output], list[exp.Expr]]:
        outputs: list[Output] = []
        items: list[exp.Expr] = []
        for item in node.expressions:
            plain = item.this if isinstance(item, exp.Alias) else item
            if isinstance(plain, exp.Star) or (isinstance(plain, exp.Column) and isinstance(plain.this, exp.Star)):
                if any(plain.find(exp.Star).args.get(name) for name in ("except_", "replace", "rename", "except")):
                    self.findings.alien("SELECT * EXCEPT/REPLACE is not Postgres's")
                if not scope.relations:
                    self.findings.fault("SELECT * with no tables specified is not valid")
                outputs += self._star(plain, scope)
                items.append(plain)
                continue
            kind = self.expressions.type_of(plain, scope, "SELECT")
            name = fold(item.args["alias"]) if isinstance(item, exp.Alias) else self.expressions.output_name(plain)
            resolved = self.findings.resolved.get(id(plain))
            outputs.append(
                Output(name, kind, self.expressions.is_constant(plain), resolved.output.source if resolved else None)
            )
            items.append(plain)
        return outputs, items

    def _star(self, plain: exp.Expr, scope: Scope) -> list[Output]:
        if isinstance(plain, exp.Column) and plain.table:
            relation = self.expressions.relation(plain, scope)
            return list(relation.columns) if relation is not None and not relation.open else [Output("*", ANY_TYPE)]
        if any(relation.open for relation in scope.relations):
            return [Output("*", ANY_TYPE)]
        merged = list(scope.merged.values())
        return merged + [
            output for relation in scope.relations for output in relation.columns if output.name not in scope.merged
        ]

    def _ordinal(self, key: exp.Expr, count: int, clause: str) -> int | None:
        if not key.is_int:
            self.findings.fault(f"non-integer constant in {clause}")
            return None
        position = int(key.name)
        if not 1 <= position <= count:
            self.findings.fault(f"{clause} position {position} is not in select list")
            return None
        return position - 1

    def _group_keys(
        self, node: exp.Select, scope: Scope, aliases: Mapping[str, exp.Expr], items: list[exp.Expr]
    ) -> tuple[list[exp.Expr] | None, bool]:
        group = node.args.get("group")
        if group is None:
            return None, False
        if group.args.get("all") or group.args.get("totals"):
            self.findings.alien("GROUP BY ALL is not Postgres's")
            return None, False
        sets = False
        keys: list[exp.Expr] = []
        pending = list(group.expressions)
        for name in ("grouping_sets", "cube", "rollup"):
            extra = group.args.get(name)
            pending += extra if isinstance(extra, list) else []
        while pending:
            key = pending.pop(0)
            if isinstance(key, (exp.GroupingSets, exp.Cube, exp.Rollup)):
                sets = True
                pending = list(key.expressions) + pending
            elif isinstance(key, (exp.Tuple, exp.Paren)):
                pending = (list(key.expressions) if isinstance(key, exp.Tuple) else [key.this]) + pending
            elif isinstance(key, exp.Literal):
                if key.is_string:
                    self.findings.fault("non-integer constant in GROUP BY")
                    continue
                star = any(isinstance(item, exp.Star) for item in items)
                position = None if star else self._ordinal(key, len(items), "GROUP BY")
                if position is not None:
                    keys.append(items[position])
                    self._no_aggregate(items[position])
            elif (
                isinstance(key, exp.Column)
                and not key.table
                and fold(key.this) in aliases
                and not self.expressions.finds(key, scope)
            ):
                keys.append(aliases[fold(key.this)])
                self._no_aggregate(aliases[fold(key.this)])
            else:
                match = None
                if isinstance(key, exp.Column) and not key.table and not self.expressions.finds(key, scope):
                    match = next((item for item in items if self.expressions.output_name(item) == fold(key.this)), None)
                if match is not None:
                    keys.append(match)
                    self._no_aggregate(match)
                    continue
                self.expressions.type_of(key, scope, "GROUP BY")
                keys.append(key)
        return keys, sets

    def _no_aggregate(self, key: exp.Expr) -> None:
        if is_aggregated(key, self):
            self.findings.fault("aggregate functions are not allowed in GROUP BY")

    def _order_keys(
        self, node: exp.Select, scope: Scope, aliases: Mapping[str, exp.Expr], items: list[exp.Expr]
    ) -> list[exp.Expr]:
        keys = []
        order = node.args.get("order")
        for item in order.expressions if order is not None else ():
            key = item.this if isinstance(item, exp.Ordered) else item
            if isinstance(key, exp.Literal):
                if key.is_string:
                    self.findings.fault("non-integer constant in ORDER BY")
                elif not any(
                    isinstance(each, exp.Star) or (isinstance(each, exp.Column) and isinstance(each.this, exp.Star))
                    for each in items
                ):
                    position = self._ordinal(key, len(items), "ORDER BY")
                    if position is not None:
                        keys.append(items[position])
                continue
            if isinstance(key, exp.Column) and not key.table:
                name = fold(key.this)
                if name in aliases:
                    keys.append(aliases[name])
                    continue
                match = next(
                    (
                        each
                        for each in items
                        if not isinstance(each, exp.Column) and self.expressions.output_name(each) == name
                    ),
                    None,
                )
                if match is not None and not self.expressions.finds(key, scope):
                    keys.append(match)
                    continue
            self.expressions.type_of(key, scope, "ORDER BY")
            keys.append(key)
        return keys

    def _limit(self, clause: exp.Expr | None) -> None:
        if clause is None:
            return
        options = clause.args.get("limit_options")
        if clause.args.get("expressions") or (options is not None and options.args.get("percent")):
            self.findings.alien("LIMIT BY and PERCENT are not Postgres's")
        value = clause.args.get("count") if isinstance(clause, exp.Fetch) else clause.expression
        if isinstance(value, exp.Column):
            if fold(value.this) not in ("all",):
                self.findings.fault("argument of LIMIT must not contain variables")
        elif isinstance(value, exp.Expr) and value.find(exp.Column) is not None and value.find(exp.Query) is None:
            self.findings.fault("argument of LIMIT must not contain variables")

    def _distinct(
        self,
        node: exp.Select,
        scope: Scope,
        items: list[exp.Expr],
        ordered: list[exp.Expr],
        aliases: Mapping[str, exp.Expr],
    ) -> None:
        distinct = node.args.get("distinct")
        if distinct is None:
            return
        on = distinct.args.get("on")
        canonical = self.expressions.canonical
        if on is None:
            starred = any(
                isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star))
                for item in items
            )
            selected = {canonical(item) for item in items}
            if not starred and any(canonical(key) not in selected for key in ordered):
                self.findings.fault("for SELECT DISTINCT, ORDER BY expressions must appear in select list")
            return
        self.findings.order_dependent = True
        keys = on.expressions if isinstance(on, exp.Tuple) else [on.unnest()]
        bound = []
        for key in keys:
            if isinstance(key, exp.Literal) and key.is_int and 1 <= int(key.name) <= len(items):
                bound.append(items[int(key.name) - 1])
            elif isinstance(key, exp.Column) and not key.table and fold(key.this) in aliases:
                bound.append(aliases[fold(key.this)])
            else:
                self.expressions.type_of(key, scope, "DISTINCT ON")
                bound.append(key)
        wanted = {canonical(key) for key in bound}
        leading = [canonical(key) for key in ordered[: len(wanted)]]
        if any(key not in wanted for key in leading):
            self.findings.fault("SELECT DISTINCT ON expressions must match initial ORDER BY expressions")

    # FROM

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
            self._add(scope, Relation(name or table, self._view(table), open=False, group=group), columns)
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

    def _view(self, name: str) -> list[Output]:
        self.tables.add(name)
        inner = Binder(self.schema)
        try:
            outputs = inner.query(parse_query(self.schema.views[name]).tree, {}, None)
        except NotParsed:
            return [Output("*", ANY_TYPE)]
        self.tables |= inner.tables
        return outputs

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
