"""What a gold's result asks of another result: its rows, which of them tie, and what may stand in for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from qwen_lightning.execution.results import Expected, Result
from qwen_lightning.execution.same_result import Row, normal
from qwen_lightning.execution.sql.ddl import fold
from qwen_lightning.execution.sql.parsing import Parsed


@dataclass(frozen=True, slots=True)
class OrderedGold:
    """The gold with its sort keys appended as columns, and without its LIMIT where it has one."""

    parsed: Parsed
    keys: list[int]
    extra: int
    ordered: bool
    unlimited: Parsed | None = None

    def expected(self, result: Result, run: Callable[[Parsed], Result]) -> Expected:
        """Split what the query with appended keys returned into rows and ties."""
        width = result.width - self.extra
        if not self.ordered:
            rows = [row[:width] for row in result.rows]
            if self.unlimited is None:
                return Expected(rows, width)
            full = run(self.unlimited)
            if full.fault or full.gap or len(full.rows) == len(rows):
                return Expected(rows, width)
            return Expected(rows, width, [0] * len(rows), {0: [row[:width] for row in full.rows]})
        ties = [self._tie(row, width) for row in result.rows]
        rows = [row[:width] for row in result.rows]
        spare: dict[Any, list[Row]] = {}
        if self.unlimited is not None and rows:
            full = run(self.unlimited)
            if not (full.fault or full.gap):
                for edge in {ties[0], ties[-1]}:
                    tied = [row[:width] for row in full.rows if self._tie(row, width) == edge]
                    if len(tied) > ties.count(edge):
                        spare[edge] = tied
        return Expected(rows, width, ties, spare)

    def _tie(self, row: Row, width: int) -> tuple[Any, ...]:
        return tuple(_hashable(normal(row[key if key >= 0 else width - key - 1])) for key in self.keys)


def _hashable(value: Any) -> Any:
    return (value[0], float(value[1])) if value[0] == "number" else value


def ordered_gold(parsed: Parsed) -> OrderedGold:
    """Prepare a gold so that its ties can be told: sort keys that it does not select are appended as columns."""
    tree: Any = parsed.native
    while (
        isinstance(tree, exp.Subquery)
        and not tree.args.get("order")
        and not tree.args.get("limit")
        and isinstance(tree.this, exp.Query)
    ):
        tree = tree.this
    order, limit, offset = tree.args.get("order"), tree.args.get("limit"), tree.args.get("offset")
    native = parsed.native.copy()
    target: exp.Expr = native
    while (
        isinstance(target, exp.Subquery)
        and not target.args.get("order")
        and not target.args.get("limit")
        and isinstance(target.this, exp.Query)
    ):
        target = target.this
    keys: list[int] = []
    extra = 0
    if order is not None:
        names = [
            fold(item.args["alias"])
            if isinstance(item, exp.Alias)
            else fold(item.this)
            if isinstance(item, exp.Column)
            else ""
            for item in tree.selects
        ]
        starred = any(item.is_star for item in tree.selects)
        appendable = isinstance(target, exp.Select) and not target.args.get("distinct")
        for item in order.expressions:
            key = item.this
            if isinstance(key, exp.Literal) and key.is_int and not starred:
                keys.append(int(key.name) - 1)
            elif isinstance(key, exp.Column) and not key.table and fold(key.this) in names and not starred:
                keys.append(names.index(fold(key.this)))
            elif appendable and not isinstance(key, exp.Literal):
                extra += 1
                keys.append(-extra)
                assert isinstance(target, exp.Select)
                target.append("expressions", exp.alias_(_plain_key(key, tree), f"order key {extra}", quoted=True))
            else:
                match = next((i for i, select in enumerate(tree.selects) if select.unalias() == key), None)
                if match is not None and not starred:
                    keys.append(match)
    unlimited = None
    if limit is not None or offset is not None:
        bare = native.copy()
        inner: exp.Expr = bare
        while (
            isinstance(inner, exp.Subquery)
            and not inner.args.get("order")
            and not inner.args.get("limit")
            and isinstance(inner.this, exp.Query)
        ):
            inner = inner.this
        inner.set("limit", None)
        inner.set("offset", None)
        unlimited = Parsed(parsed.text, parsed.tree, bare, rewritten=True)
    complete = order is not None and len(keys) == len(order.expressions)
    return OrderedGold(
        Parsed(parsed.text, parsed.tree, native, rewritten=bool(extra)),
        keys,
        extra,
        order is not None and bool(keys) and complete,
        unlimited,
    )


def _plain_key(key: exp.Expr, tree: Any) -> exp.Expr:
    """The key as an expression over input columns: an output name alone stands for its expression."""
    if isinstance(key, exp.Column) and not key.table:
        for select in tree.selects:
            if isinstance(select, exp.Alias) and fold(select.args["alias"]) == fold(key.this):
                return select.this.copy()
    return key.copy()
