"""The values that a query's conditions look for, and their neighbours, by the table column that they are compared with."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlglot import exp

from qwen_lightning.execution.binding import Resolved

Place = tuple[str, str]


def wanted_values(node: exp.Expression, left: Any, right: Any, resolved: Mapping[int, Resolved]) -> Iterator[tuple[Place, list[Any]]]:
    """For a comparison of a column with a literal: where the column's values stand, and values around the literal."""
    for column_side, literal_side in ((left, right), (right, left)):
        literal = _literal(literal_side)
        if literal is None or not isinstance(column_side, exp.Expression):
            continue
        columns = list(column_side.find_all(exp.Column))
        if len(columns) != 1 or column_side.find(exp.Query) is not None:
            continue
        found = resolved.get(id(columns[0]))
        if found is None or found.output.source is None:
            continue
        values = _around(literal, found.output.type, isinstance(node, (exp.Like, exp.ILike, exp.SimilarTo)))
        if values:
            yield found.output.source, values


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
            return [number, number + 1, number - 1]
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
