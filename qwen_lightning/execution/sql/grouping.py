"""Which columns may stand outside aggregates in a query that groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from qwen_lightning.execution.sql.binding import Relation, Scope
from qwen_lightning.execution.sql.catalog import catalog
from qwen_lightning.execution.sql.parsing import call_name

if TYPE_CHECKING:
    from qwen_lightning.execution.sql.binder import Binder

_UNGROUPED = 'column "{}" must appear in the GROUP BY clause or be used in an aggregate function'


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a call is an aggregate of its own query, not one that a window makes a window function."""
    if not isinstance(node, exp.Anonymous) or not any(
        s.kind == "a" for s in catalog().functions.get(call_name(node), [])
    ):
        return False
    parent = node.parent
    while isinstance(parent, (exp.Filter, exp.WithinGroup)):
        parent = parent.parent
    return not (isinstance(parent, exp.Window) and parent.this.find(exp.Anonymous) is node)


def is_aggregated(node: exp.Expr) -> bool:
    """Whether an expression holds an aggregate, outside its subqueries."""
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, exp.Query):
            continue
        if is_aggregate(part):
            return True
        pending += list(part.iter_expressions())
    return False


def check_grouping(binder: Binder, scope: Scope, keys: list[exp.Expr], items: list[exp.Expr], sets: bool) -> None:
    """Record every column that is neither grouped, nor in an aggregate, nor determined by a grouped primary key.

    Args:
        binder: Holds the findings and the names already bound.
        scope: Of the query that groups.
        keys: Its grouping expressions.
        items: What it selects, orders by and filters groups by.
        sets: Whether it has grouping sets, which leave keys NULL and so determine nothing.
    """
    expressions, resolved = binder.expressions, binder.findings.resolved
    grouped = {expressions.canonical(key) for key in keys}
    columns: set[tuple[int, str]] = set()
    for key in keys:
        found = resolved.get(id(key.unnest()))
        if found is not None and found.scope is scope:
            columns.add((id(found.relation), found.output.name))
    for name in scope.merged:
        holders = [(id(relation), name) for relation in scope.relations if relation.find(name)]
        if any(place in columns for place in holders):
            columns.update(holders)
    determined = (
        set() if sets else {id(relation) for relation in scope.relations if _determined(binder, relation, columns)}
    )

    def check(node: exp.Expr) -> None:
        if isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star)):
            _check_star(binder, node, scope, columns, determined)
            return
        if is_aggregate(node) or (
            not isinstance(node, exp.Column) and grouped and expressions.canonical(node) in grouped
        ):
            return
        if isinstance(node, exp.Column):
            found = resolved.get(id(node))
            if found is None or found.scope is not scope:
                return
            place = (id(found.relation), found.output.name)
            if place in columns:
                return
            if id(found.relation) in determined:
                if node.this.meta:
                    binder.findings.dependent.add(node.this.meta["start"])
            else:
                name = f"{found.relation.name}.{found.output.name}" if found.relation.name else found.output.name
                binder.findings.fault(_UNGROUPED.format(name))
            return
        if isinstance(node, exp.Grouping) or (isinstance(node, exp.WithinGroup) and is_aggregate(node.this)):
            return
        for child in node.iter_expressions():
            if isinstance(node, exp.Filter) and child is not node.this:
                continue
            check(child)

    for item in items:
        check(item)


def _check_star(
    binder: Binder, node: exp.Expr, scope: Scope, columns: set[tuple[int, str]], determined: set[int]
) -> None:
    table = node.table if isinstance(node, exp.Column) else ""
    if isinstance(node.parent, exp.Anonymous):
        return
    for relation in scope.relations:
        if table and relation.name != table.lower() and relation.name != table:
            continue
        for output in relation.columns:
            if not relation.open and (id(relation), output.name) not in columns and id(relation) not in determined:
                binder.findings.fault(_UNGROUPED.format(f"{relation.name}.{output.name}"))
                return


def _determined(binder: Binder, relation: Relation, columns: set[tuple[int, str]]) -> bool:
    table = binder.schema.tables.get(relation.table or "")
    if table is None or not table.primary:
        return False
    # An alias list may have renamed the key's columns.
    names = dict(zip(table.columns, (output.name for output in relation.columns), strict=False))
    return all((id(relation), names.get(column, column)) in columns for column in table.primary)
