"""When two query results are the same.

Bags of rows under one consistent permutation of columns, names ignored. Row order counts only where the gold's
outermost query orders, and rows that tie there may stand in any order. Numbers agree within 1e-6 relative or 1e-9
absolute, NULL equals NULL, a boolean is no number, and a date equals its midnight.
"""

from __future__ import annotations

import datetime
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import islice, permutations
from typing import Any

RELATIVE, ABSOLUTE = 1e-6, 1e-9
Row = tuple[Any, ...]

# Up to this many ways of pairing columns are tried; results with more columns than that pair like with like.
_MAX_PAIRINGS = 5040
_MAX_LOOSE = 500


def same_result(
    gold: Sequence[Row],
    other: Sequence[Row],
    ties: Sequence[Any] | None = None,
    spare: Mapping[Any, Sequence[Row]] | None = None,
) -> bool:
    """Whether two results are the same.

    Args:
        gold: The gold's rows.
        other: The rows to compare, with as many columns.
        ties: Where the gold orders its rows: one entry a gold row, equal for neighbours that tie. None: order is free.
        spare: By entry of `ties`: all rows that tie there, where the gold's LIMIT kept some of them; any of them may
            stand in for those.
    """
    if len(gold) != len(other):
        return False
    if not gold:
        return True
    width = len(gold[0])
    if any(len(row) != width for row in other):
        return False
    left = [tuple(normal(value) for value in row) for row in gold]
    right = [tuple(normal(value) for value in row) for row in other]
    groups: list[tuple[int, int, Sequence[Row]]] = [(0, len(left), left)]
    if ties is not None:
        stand_in = {tie: [tuple(map(normal, row)) for row in rows] for tie, rows in (spare or {}).items()}
        groups = [(start, end, stand_in.get(ties[start], left[start:end])) for start, end in _runs(ties)]
    pairings = permutations(range(width)) if spare and width <= 7 else _pairings(left, right)
    return any(_equal_under(right, order, groups) for order in pairings)


def normal(value: Any) -> Any:
    """A value in comparable form: a pair of its kind and a plain value."""
    if value is None:
        return ("null", 0)
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, (int, float, Decimal)):
        return ("number", value)
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            try:
                value = value.astimezone(datetime.UTC).replace(tzinfo=None)
            except OverflowError:  # in the first or the last hours of the calendar
                return ("text", value.isoformat())
        return ("time", value)
    if isinstance(value, datetime.date):
        return ("time", datetime.datetime(value.year, value.month, value.day))
    if isinstance(value, datetime.timedelta):
        return ("span", value.total_seconds())
    if isinstance(value, (bytes, bytearray, memoryview)):
        return ("bytes", bytes(value))
    if isinstance(value, dict):
        return ("map", json.dumps(value, sort_keys=True, default=str))
    if isinstance(value, (list, tuple)):
        return ("list", tuple(normal(item) for item in value))
    return ("text", value if isinstance(value, str) else str(value))


def _close(left: Any, right: Any) -> bool:
    if left == right:
        return True
    if left[0] != right[0]:
        return False
    if left[0] == "list":
        return len(left[1]) == len(right[1]) and all(map(_close, left[1], right[1]))
    if left[0] not in ("number", "span"):
        return False
    a, b = float(left[1]), float(right[1])
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE) or (math.isnan(a) and math.isnan(b))


def _bucket(value: Any) -> Any:
    """A hashable key that close values nearly always share: numbers by their first five significant digits."""
    if value[0] in ("number", "span"):
        number = float(value[1])
        return (
            value[0],
            float(f"{number:.4e}")
            if math.isfinite(number) and abs(number) > ABSOLUTE
            else 0.0
            if math.isfinite(number)
            else str(number),
        )
    return (value[0], tuple(map(_bucket, value[1]))) if value[0] == "list" else value


def _sort_key(row: Iterable[Any]) -> list[tuple[str, Any]]:
    keys: list[tuple[str, Any]] = []
    for kind, value in row:
        if kind in ("number", "span"):
            number = float(value)
            keys.append((kind, (0, number) if math.isfinite(number) else (1, 0.0)))
        elif kind == "list":
            keys.append((kind, (2, str([_bucket(item) for item in value]))))
        else:
            keys.append((kind, (2, str(value))))
    return keys


def _runs(ties: Sequence[Any]) -> list[tuple[int, int]]:
    groups, start = [], 0
    for position in range(1, len(ties) + 1):
        if position == len(ties) or ties[position] != ties[start]:
            groups.append((start, position))
            start = position
    return groups


def _column_profile(rows: Sequence[Row], column: int) -> Counter[Any]:
    return Counter(_bucket(row[column]) for row in rows)


def _pairings(left: Sequence[Row], right: Sequence[Row]) -> Iterable[tuple[int, ...]]:
    """Column orders of `right` worth trying: the given one first, then those that pair columns with like contents."""
    width = len(left[0])
    identity = tuple(range(width))
    yield identity
    if width == 1:
        return
    exact = [_column_profile(left, column) for column in range(width)]
    other = [_column_profile(right, column) for column in range(width)]
    choices = [[j for j in range(width) if _alike(exact[i], other[j])] for i in range(width)]
    yield from (order for order in islice(_assignments(choices), _MAX_PAIRINGS) if order != identity)


def _alike(left: Counter[Any], right: Counter[Any]) -> bool:
    if left == right:
        return True
    # Numbers at the edge of a bucket may fall apart: compare them sorted instead.
    a, b = sorted(left.elements(), key=lambda v: _sort_key([v])), sorted(right.elements(), key=lambda v: _sort_key([v]))
    return all(
        x == y or (x[0] == y[0] in ("number", "span") and math.isclose(float(x[1]), float(y[1]), rel_tol=1e-3))
        for x, y in zip(a, b, strict=True)
    )


def _assignments(choices: list[list[int]]) -> Iterable[tuple[int, ...]]:
    if all(len(choice) == len(choices) for choice in choices) and len(choices) <= 7:
        yield from permutations(range(len(choices)))
        return

    def extend(taken: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
        if len(taken) == len(choices):
            yield taken
            return
        for column in choices[len(taken)]:
            if column not in taken:
                yield from extend((*taken, column))

    yield from extend(())


def _equal_under(right: Sequence[Row], order: tuple[int, ...], groups: list[tuple[int, int, Sequence[Row]]]) -> bool:
    for start, end, allowed in groups:
        theirs = [tuple(row[column] for column in order) for row in right[start:end]]
        if not _drawn_from(theirs, allowed):
            return False
    return True


def _drawn_from(theirs: Sequence[Row], allowed: Sequence[Row]) -> bool:
    """Whether every row has a partner of its own among those allowed."""
    if len(theirs) == 1:
        return any(all(map(_close, theirs[0], row)) for row in allowed)
    if len(theirs) == len(allowed):
        a, b = sorted(theirs, key=_sort_key), sorted(allowed, key=_sort_key)
        if all(all(map(_close, x, y)) for x, y in zip(a, b, strict=True)):
            return True
    # Numbers that are close but unequal can sort rows apart: take away what is exactly equal, pair the rest one by one.
    left, right = Counter(theirs), Counter(allowed)
    common = left & right
    rest, pool = list((left - common).elements()), list((right - common).elements())
    if len(rest) > _MAX_LOOSE:
        return False
    for row in rest:
        for position, candidate in enumerate(pool):
            if all(map(_close, row, candidate)):
                del pool[position]
                break
        else:
            return False
    return True
