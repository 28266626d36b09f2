"""What a query's conditions look for: values and their neighbours by table column, and columns that must meet."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlglot import exp

Place = tuple[str, str]


@dataclass(slots=True)
class Wanted:
    """What rows must hold for a query to find something.

    Args:
        values: Values by (table, column).
        joins: Pairs of (table, column) whose values the query equates.
    """

    values: dict[Place, list[Any]] = field(default_factory=lambda: defaultdict(list))
    joins: list[tuple[Place, Place]] = field(default_factory=list)


def note_wanted(
    wanted: Wanted, node: exp.Expr, left: Any, right: Any, source: Callable[[exp.Expr], tuple[Place, str] | None]
) -> None:
    """Add what a comparison looks for: a literal and its neighbours, or two columns that must meet.

    Args:
        wanted: Where it is noted.
        node: The comparison.
        left: Its left side.
        right: Its right side.
        source: The (table, column) whose values a column passes on, and its type.
    """
    if isinstance(node, exp.EQ) and isinstance(left, exp.Column) and isinstance(right, exp.Column):
        one, other = source(left), source(right)
        if one is not None and other is not None:
            wanted.joins.append((one[0], other[0]))
        return
    for column_side, literal_side in ((left, right), (right, left)):
        literal = _literal(literal_side)
        if literal is None or not isinstance(column_side, exp.Expr):
            continue
        columns = list(column_side.find_all(exp.Column))
        if len(columns) != 1 or column_side.find(exp.Query) is not None:
            continue
        found = source(columns[0])
        if found is not None:
            wanted.values[found[0]].extend(
                _around(literal, found[1], isinstance(node, (exp.Like, exp.ILike, exp.SimilarTo)))
            )


def _literal(node: Any) -> str | None:
    if isinstance(node, (exp.Paren, exp.Cast)):
        return _literal(node.this)
    if isinstance(node, exp.Neg):
        inner = _literal(node.this)
        return None if inner is None else "-" + inner
    return node.this if isinstance(node, exp.Literal) else None


def _around(text: str, kind: str, pattern: bool) -> list[Any]:
    if kind in ("text", "varchar", "bpchar"):
        return [text.replace("%", "").replace("_", "x")] if pattern else [text]
    try:
        if kind in ("int2", "int4", "int8"):
            number = int(Decimal(text))
            return [number, number + 1, number - 1, 2 * number + 1, number // 2]
        if kind == "numeric":
            return [Decimal(text), Decimal(text) + 1, Decimal(text) - 1]
        if kind in ("float4", "float8"):
            return [float(text), float(text) + 1, float(text) - 1]
        if kind == "date":
            date = datetime.date.fromisoformat(text[:10])
            return [date, date + datetime.timedelta(days=1), date - datetime.timedelta(days=1)]
        if kind == "timestamp":
            moment = datetime.datetime.fromisoformat(text)
            return [moment, moment + datetime.timedelta(days=1), moment - datetime.timedelta(days=1)]
        if kind == "bool":
            return [True, False]
    except (ValueError, InvalidOperation, OverflowError):
        return []
    return []
