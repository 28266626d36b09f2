"""Values of a Postgres result that is shown, where Python's own types would say something else.

A timedelta takes a year for 365 days, a date ends at 9999, a float cuts the digits of a number in JSON.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader
from psycopg.types.json import set_json_loads
from psycopg.types.string import TextLoader

#: An interval as the server writes it: `-1 years +2 mons 3 days -04:05:06.7`.
_INTERVAL = re.compile(
    r"(?:(?P<years>[+-]?\d+) years? ?)?(?:(?P<mons>[+-]?\d+) mons? ?)?(?:(?P<days>[+-]?\d+) days? ?)?"
    r"(?:(?P<sign>-?)\+?(?P<h>\d+):(?P<m>\d+):(?P<s>\d+(?:\.\d+)?))?"
)


class _Interval(TextLoader):
    """ISO 8601 of the server's words: its own setting for that would change what the query's casts give."""

    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        match = _INTERVAL.fullmatch(text)
        if match is None:  # infinity
            return text
        date, time = (
            "".join(f"{sign}{Decimal(value)}{unit}" for value, unit in parts if value and Decimal(value))
            for sign, parts in (
                ("", ((match["years"], "Y"), (match["mons"], "M"), (match["days"], "D"))),
                (match["sign"] or "", ((match["h"], "H"), (match["m"], "M"), (match["s"], "S"))),
            )
        )
        return f"P{date}{'T' if time else ''}{time}" if date or time else "PT0S"


class _Date(DateLoader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:  # infinity, or a year that Python does not have
            return bytes(data).decode()


class _Timestamp(TimestampLoader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return bytes(data).decode()


class _TimestampWithZone(TimestamptzLoader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return bytes(data).decode()


def show_exactly(cursor: psycopg.ServerCursor[Any]) -> None:
    """Have a cursor read its rows as they are shown."""
    cursor.adapters.register_loader("interval", _Interval)
    cursor.adapters.register_loader("date", _Date)
    cursor.adapters.register_loader("timestamp", _Timestamp)
    cursor.adapters.register_loader("timestamptz", _TimestampWithZone)
    set_json_loads(lambda text: json.loads(text, parse_float=Decimal), cursor)
