"""Values of query results as JSON's.

A number is a JSON number where a double holds it exactly, else its text, as are NaN and the infinities.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from qwen_lightning.errors import QueryError
from qwen_lightning.execution.base import Limits

#: Integers up to it are exact in a double, and so in JavaScript.
_MAX_SAFE = 2**53 - 1


def json_value(value: Any) -> Any:
    """A value of a database driver as JSON's."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= _MAX_SAFE else str(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _not_finite(value)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, datetime.timedelta):
        return duration(0, value.days, Decimal(value.seconds) + Decimal(value.microseconds) / 1_000_000)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [json_value(item) for item in value]
    return str(value)


def duration(months: float | Decimal, days: float | Decimal, seconds: float | Decimal) -> str:
    """A duration as ISO 8601 has it; a part may be negative, which many programs read though the norm is silent."""
    date = "".join(f"{_plain(part)}{unit}" for part, unit in ((months, "M"), (days, "D")) if part)
    time = f"T{_plain(seconds)}S" if seconds else ""
    return f"P{date}{time}" if date or time else "PT0S"


def json_rows(
    rows: Iterable[Iterable[Any]], limits: Limits, convert: Callable[[Any], Any] = json_value
) -> tuple[list[list[Any]], bool]:
    """Rows in JSON's values, and whether some were left out because their text would be beyond the limits.

    Args:
        rows: Rows of a driver's values.
        limits: Most rows, and most bytes as JSON.
        convert: From a driver's value to JSON's.

    Raises:
        QueryError: The first row alone is beyond them.
    """
    kept: list[list[Any]] = []
    left = limits.size
    for row in rows:
        made = [convert(value) for value in row]
        left -= len(json.dumps(made, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        if len(kept) == limits.rows:
            return kept, True
        if left < 0:
            if not kept:
                raise QueryError(f"its first row is longer than {limits.size} bytes; select less of it")
            return kept, True
        kept.append(made)
    return kept, False


def _decimal(value: Decimal) -> Any:
    if not value.is_finite():
        return _not_finite(float(value)) if not value.is_snan() else "NaN"
    if value == value.to_integral_value():
        return json_value(int(value)) if value.adjusted() < 400 else str(value)
    number = float(value)
    return number if Decimal(repr(number)) == value else format(value, "f")


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _plain(number: float | Decimal) -> str:
    """A number without an exponent, and without a fraction that is none."""
    text = format(Decimal(repr(number)) if isinstance(number, float) else Decimal(number), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
