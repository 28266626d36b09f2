"""Values of drivers as JSON's."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest

from qwen_lightning.errors import QueryError
from qwen_lightning.execution.base import Limits
from qwen_lightning.execution.json_values import duration, json_rows, json_value

_UTC = datetime.UTC


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ("é", "é"),
        (2**53 - 1, 9007199254740991),
        (-(2**53) - 1, "-9007199254740993"),
        (0.1, 0.1),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (Decimal("12.50"), 12.5),
        (Decimal("3.00"), 3),
        (Decimal("9007199254740993"), "9007199254740993"),
        (Decimal("0.12345678901234567890"), "0.12345678901234567890"),
        (Decimal("1E+3000"), "1E+3000"),
        (Decimal("NaN"), "NaN"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=_UTC), "2020-01-02T03:04:05+00:00"),
        (datetime.time(3, 4), "03:04:00"),
        (datetime.timedelta(days=-1, seconds=90, microseconds=500_000), "P-1DT90.5S"),
        (datetime.timedelta(0), "PT0S"),
        (b"\x00\xff", "\\x00ff"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([1, (Decimal("1.5"), None)], [1, [1.5, None]]),
        ({"a": {2: 2**60}}, {"a": {"2": str(2**60)}}),
    ],
)
def test_value(value: Any, expected: Any) -> None:
    found = json_value(value)
    assert found == expected
    assert type(found) is type(expected)


def test_duration_has_no_exponent() -> None:
    assert duration(14.0, 3.0, 4.5) == "P14M3DT4.5S"
    assert duration(0, 0, 0.000001) == "PT0.000001S"
    assert duration(100, 0, 0) == "P100M"


def test_rows_end_at_their_limits() -> None:
    rows = [("abc",)] * 4  # 7 bytes each as JSON
    assert json_rows(rows, Limits(4, 28)) == ([["abc"]] * 4, False)
    assert json_rows(rows, Limits(3, 28)) == ([["abc"]] * 3, True)
    assert json_rows(rows, Limits(4, 27)) == ([["abc"]] * 3, True)
    with pytest.raises(QueryError, match="first row"):
        json_rows(rows, Limits(4, 6))
