"""RETURN and WITH: columns, aliases, grouping, ORDER BY, and the facts that comparing ordered results needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lark import Tree

from qwen_lightning.execution.cypher.expressions import Expressions
from qwen_lightning.execution.cypher.kinds import Scope, Value, varying
from qwen_lightning.execution.cypher.parsing import Node, Parsed
from qwen_lightning.execution.cypher.trees import (
    bare,
    calls_aggregate,
    child,
    children,
    is_call_of_aggregate,
    literal_of,
    name_of,
    named,
    tokens,
    variable_of,
)

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class SortItem:
    """One item of the outermost ORDER BY.

    Args:
        text: The expression as written.
        descending: DESC.
        column: Index of the returned column that it is, by alias or by the same text; None for another expression,
            and after RETURN *.
        key_text: The expression with returned aliases replaced by what they stand for, so that it can stand as a
            further item of the same RETURN; None where it cannot (after DISTINCT).
    """

    text: str
    descending: bool
    column: int | None
    key_text: str | None


@dataclass(frozen=True, slots=True)
class Projection:
    """The outermost RETURN of a query that is no UNION, with offsets into the query's text.

    Args:
        items_end: Where the last returned item ends: `, expression AS alias` may be put in here.
        order_by: Its sort items.
        cut_start: Where SKIP or LIMIT starts; the end of the RETURN where there is none.
        cut_end: Where the last of them ends.
        limit_text: The expression of LIMIT; None without one.
        skip_text: The expression of SKIP or OFFSET; None without one.
        distinct: RETURN DISTINCT.
        aggregated: An item holds an aggregate function, so that the others are grouping keys.
        star: RETURN *.
    """

    items_end: int
    order_by: tuple[SortItem, ...]
    cut_start: int
    cut_end: int
    limit_text: str | None
    skip_text: str | None
    distinct: bool
    aggregated: bool
    star: bool


class Projections:
    """Binds the projections of one query.

    Args:
        parsed: The query, for the text of expressions.
        expressions: Evaluates them.
    """

    def __init__(self, parsed: Parsed, expressions: Expressions) -> None:
        self.parsed, self.expressions, self.findings = parsed, expressions, expressions.findings

    def bind(self, tree: Node, scope: Scope, *, clause: str) -> tuple[Scope, Scope]:
        """Bind a `projection`.

        Args:
            tree: It.
            scope: The variables before it.
            clause: `WITH`, `RETURN`, or `CALL` for the RETURN of a CALL subquery.

        Returns:
            Its columns, and what a WHERE after it may use.
        """
        items, star = children(child_of(tree, "items"), "item"), is_star(tree)
        columns: Scope = {}
        if star:
            if not scope and clause == "RETURN":
                self.findings.refuse("RETURN * has no variable to return")
            columns.update(scope)
        aggregated = any(calls_aggregate(item) for item in items)
        for item in items:
            name, value = self._item(item, scope, clause)
            # After *, a variable may be named again, and a column may replace one.
            if name in columns and not (star and name in scope):
                self.findings.refuse(f"two columns are called {name}")
            columns[name] = varying(value) if aggregated and calls_aggregate(item) else value
        if aggregated:
            self._grouping(items, scope, star)
        distinct = any(token.type == "DISTINCT" for token in tokens(tree))
        closed = aggregated or distinct
        after = dict(columns) if closed else {**scope, **columns}
        if closed:
            # An expression that is a column may be written out again after the fold.
            after = {**{name: value for name, value in scope.items() if name in self._repeated(items)}, **after}
        self._order(tree, items, scope, columns, closed, aggregated)
        self._cut(tree, clause)
        return columns, after

    def _item(self, item: Node, scope: Scope, clause: str) -> tuple[str, Value]:
        expression = children(item)[0]
        value = self.expressions.value(expression, scope)
        alias = variable_of(item) if len(children(item)) > 1 else None
        if alias is not None:
            return name_of(children(item)[1]), value
        if clause != "RETURN" and named(expression) is None:
            self.findings.refuse(f"{self.parsed.source(expression)} needs an alias (AS) in {clause}")
        return named(expression) or self.parsed.source(expression), value

    def _repeated(self, items: Sequence[Node]) -> set[str]:
        return {
            name_of(variable) for item in items if not calls_aggregate(item) for variable in item.find_data("variable")
        }

    def _text(self, tree: Node) -> str:
        return _SPACE.sub("", self.parsed.source(bare(tree)))

    def _grouping(self, items: Sequence[Node], scope: Scope, star: bool) -> None:
        """Fault what stands beside an aggregate in one item without being a grouping key."""
        keys = [children(item)[0] for item in items if not calls_aggregate(item)]
        texts = {self._text(key) for key in keys} | (set(scope) if star else set())
        for item in items:
            expression = children(item)[0]
            if calls_aggregate(expression):
                for part in self._ungrouped(expression, texts, scope):
                    self.findings.refuse(f"{part} stands beside an aggregate and is no column of its own to group by")

    def _ungrouped(self, tree: Node, keys: set[str], scope: Scope) -> list[str]:
        if is_call_of_aggregate(tree) or self._text(tree) in keys or tree.data == "subquery":
            return []
        if tree.data == "variable":
            known = scope.get(name_of(tree))
            return [name_of(tree)] if known is not None and not known.constant else []
        if tree.data in ("each", "quantified", "reduce", "pattern_comprehension"):
            # Their own variables are not the query's; only what they go through is looked at.
            return [part for inner in children(tree)[1:2] for part in self._ungrouped(inner, keys, scope)]
        if tree.data == "postfix" and children(tree)[0].data == "variable":
            root, access = children(tree)[0], children(tree)[1]
            whole = self.parsed.text[root.meta.start_pos : access.meta.end_pos]
            if _SPACE.sub("", whole) in keys:
                return []
            inner = self._ungrouped(root, keys, scope)
            return [self.parsed.source(tree)] if inner else []
        return [part for inner in children(tree) for part in self._ungrouped(inner, keys, scope)]

    def ordered(self, tree: Node, scope: Scope) -> None:
        """Check an ORDER BY, SKIP or LIMIT that stands as a clause of its own."""
        for sort in tree.find_data("sort"):
            if calls_aggregate(sort):
                self.findings.refuse("ORDER BY can only aggregate where the columns do")
            self.expressions.value(children(sort)[0], scope)
        self._cut(tree, "WITH")

    def where(self, tree: Node, where: Node, scope: Scope, columns: Scope) -> None:
        """Fault what the WHERE after a WITH uses although an aggregation or DISTINCT has dropped it."""
        items = children(child_of(tree, "items"), "item")
        distinct = any(token.type == "DISTINCT" for token in tokens(tree))
        if distinct or any(calls_aggregate(item) for item in items):
            texts = {self._text(children(item)[0]) for item in items}
            for part in self._outside(children(where)[0], texts, columns, scope):
                self.findings.refuse(f"WHERE cannot use {part} after DISTINCT or an aggregation")

    def _order(
        self, tree: Node, items: Sequence[Node], scope: Scope, columns: Scope, closed: bool, aggregated: bool
    ) -> None:
        order = child(tree, "order")
        if order is None:
            return
        texts = {self._text(children(item)[0]) for item in items}
        for sort in children(order, "sort"):
            expression = children(sort)[0]
            if calls_aggregate(expression) and not aggregated:
                self.findings.refuse("ORDER BY can only aggregate where the columns do")
            if closed:
                for part in self._outside(expression, texts, columns, scope):
                    self.findings.refuse(f"ORDER BY cannot use {part} after DISTINCT or an aggregation")
                self.expressions.value(expression, {**scope, **columns})
            else:
                self.expressions.value(expression, {**scope, **columns})

    def _outside(self, tree: Node, texts: set[str], columns: Scope, scope: Scope) -> list[str]:
        if self._text(tree) in texts or tree.data == "subquery":
            return []
        if tree.data == "variable":
            name = name_of(tree)
            return [name] if name in scope and name not in columns else []
        if tree.data == "postfix":
            root, access = children(tree)[0], children(tree)[1]
            if _SPACE.sub("", self.parsed.text[root.meta.start_pos : access.meta.end_pos]) in texts:
                return []
        if tree.data in ("each", "quantified", "reduce", "pattern_comprehension"):
            return []
        return [part for inner in children(tree) for part in self._outside(inner, texts, columns, scope)]

    def _cut(self, tree: Node, clause: str) -> None:
        cuts = children(tree, "skip", "limit")
        for cut in cuts:
            expression = children(cut)[0]
            for variable in expression.find_data("variable"):
                self.findings.refuse(f"{cut.data.upper()} cannot use the variable {name_of(variable)}")
            value = self.expressions.value(expression, {})
            literal = literal_of(expression)
            if (
                value.kind not in ("number", "any")
                or isinstance(literal, float)
                or (literal is not None and int(literal) < 0)
            ):
                self.findings.refuse(f"{cut.data.upper()} takes an integer that is not negative")
        if cuts and clause != "RETURN" and child(tree, "order") is None:
            self.findings.order_dependent = True

    def facts(self, tree: Node, names: Sequence[str]) -> Projection:
        """The outermost RETURN as the comparison of results needs it."""
        items_tree = child_of(tree, "items")
        items = children(items_tree, "item")
        star = is_star(tree)
        distinct = any(token.type == "DISTINCT" for token in tokens(tree))
        aliases = {}
        texts: dict[str, int] = {}
        for at, item in enumerate(items):
            parts = children(item)
            texts.setdefault(self._text(parts[0]), at)
            if len(parts) > 1:
                aliases[name_of(parts[1])] = (at, self.parsed.source(parts[0]))
        order = child(tree, "order")
        sorts = [] if order is None else children(order, "sort")
        keys = []
        for sort in sorts:
            expression = children(sort)[0]
            name = named(expression)
            column = aliases[name][0] if name in aliases else texts.get(self._text(expression))
            written = "" if not tokens(sort) else str(tokens(sort)[0])
            keys.append(
                SortItem(
                    self.parsed.source(expression),
                    written.upper().startswith("DESC"),
                    None if star else column,
                    None if distinct else self._replaced(expression, {key: text for key, (_, text) in aliases.items()}),
                )
            )
        cuts = children(tree, "skip", "limit")
        start, end = (cuts[0].meta.start_pos, cuts[-1].meta.end_pos) if cuts else (tree.meta.end_pos,) * 2
        texts_of = {cut.data: self.parsed.source(children(cut)[0]) for cut in cuts}
        return Projection(
            items_tree.meta.end_pos, tuple(keys), start, end, texts_of.get("limit"), texts_of.get("skip"), distinct,
            any(calls_aggregate(item) for item in items), star,
        )  # fmt: skip

    def _replaced(self, tree: Node, aliases: dict[str, str]) -> str:
        """An expression's text with aliases put out in full."""
        spans = sorted(
            ((one.meta.start_pos, one.meta.end_pos, aliases[name_of(one)])
             for one in tree.iter_subtrees() if one.data == "variable" and name_of(one) in aliases),
            reverse=True,
        )  # fmt: skip
        text, base = self.parsed.source(tree), tree.meta.start_pos
        for start, end, instead in spans:
            text = f"{text[: start - base]}({instead}){text[end - base :]}"
        return text


def child_of(tree: Node, kind: str) -> Node:
    """The one child tree of a kind that the grammar makes sure of."""
    found = child(tree, kind)
    assert isinstance(found, Tree)
    return found


def is_star(tree: Node) -> bool:
    """Whether a projection takes all variables."""
    return any(token.type == "STAR" for token in tokens(child_of(tree, "items")))
