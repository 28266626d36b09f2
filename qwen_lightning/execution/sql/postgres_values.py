"""Values of a Postgres result that is shown, where Python's own types would say something else.

A timedelta takes a year for 365 days, a date ends at 9999, a float cuts the digits of a number in JSON.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader
from psycopg.types.json import set_json_loads
from psycopg.types.string import TextLoader

#: Set in the transaction: the server itself writes intervals as ISO 8601.
INTERVALS = "SET LOCAL IntervalStyle = 'iso_8601'"


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
    """Have a cursor read its rows as they are shown, the transaction's intervals being `INTERVALS`."""
    cursor.adapters.register_loader("interval", TextLoader)
    cursor.adapters.register_loader("date", _Date)
    cursor.adapters.register_loader("timestamp", _Timestamp)
    cursor.adapters.register_loader("timestamptz", _TimestampWithZone)
    set_json_loads(lambda text: json.loads(text, parse_float=Decimal), cursor)
