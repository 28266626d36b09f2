"""The clauses of a SELECT besides FROM: its list, GROUP BY, ORDER BY, LIMIT and DISTINCT."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from qwen_lightning.execution.sql.binding import Output, Scope
from qwen_lightning.execution.sql.catalog import ANY_TYPE
from qwen_lightning.execution.sql.ddl import fold
from qwen_lightning.execution.sql.from_clause import FromClause
from qwen_lightning.execution.sql.grouping import is_aggregated


class SelectClauses(FromClause):
    """Binds the clauses of one SELECT."""

    def _select_list(self, node: exp.Select, scope: Scope) -> tuple[list[Output], list[exp.Expr]]:
        outputs: list[Output] = []
        items: list[exp.Expr] = []
        for item in node.expressions:
            plain = item.this if isinstance(item, exp.Alias) else item
            if isinstance(plain, exp.Star) or (isinstance(plain, exp.Column) and isinstance(plain.this, exp.Star)):
                star = plain.find(exp.Star) or plain
                if any(star.args.get(name) for name in ("except_", "replace", "rename", "except")):
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
        if is_aggregated(key):
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
