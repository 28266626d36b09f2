"""Values of a graph query in canonical form, the same from every engine.

Scalars stay what they are. What has a structure becomes a tuple headed by its kind: nodes by labels and properties,
relationships by type, properties and end nodes, paths by their elements, maps by their entries; identities, which
differ from engine to engine, are left out.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Any

from qwen_lightning.execution.results import MAX_BYTES

_DURATION = re.compile(
    r"(?P<sign>-?)P(?:(?P<y>[-+.\d]+)Y)?(?:(?P<mo>[-+.\d]+)M)?(?:(?P<w>[-+.\d]+)W)?(?:(?P<d>[-+.\d]+)D)?"
    r"(?:T(?:(?P<h>[-+.\d]+)H)?(?:(?P<mi>[-+.\d]+)M)?(?:(?P<s>[-+.\d]+)S)?)?$"
)
_FRACTION = re.compile(r"(\.\d{1,6})\d*")


class Structure(tuple[Any, ...]):
    """A canonical value headed by its kind; a list of the user's own that begins alike is none."""

    __slots__ = ()


class TooLarge(Exception):
    """A result beyond the limit of bytes."""


class Unreadable(Exception):
    """A value that cannot be held here: a year outside 1 to 9999, or half a character. The message says which."""


class Budget:
    """Counts what a result holds while it is read.

    Args:
        limit: Bytes, counted as characters of text, and eight for anything else.
    """

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self.left = limit

    def spend(self, size: int) -> None:
        """Count a value.

        Raises:
            TooLarge: The limit is passed.
        """
        self.left -= size
        if self.left < 0:
            raise TooLarge


def as_node(labels: Iterable[str], properties: Mapping[str, Any]) -> tuple[Any, ...]:
    """A node, its properties canonical already."""
    return Structure(("(node)", tuple(sorted(labels)), tuple(sorted(properties.items()))))


def as_relationship(kind: str, properties: Mapping[str, Any], start: Any, end: Any) -> tuple[Any, ...]:
    """A relationship between two canonical nodes."""
    return Structure(("(relationship)", kind, tuple(sorted(properties.items())), start, end))


def as_path(elements: Iterable[Any]) -> tuple[Any, ...]:
    """A path: nodes and relationships in turn."""
    return Structure(("(path)", *elements))


def as_map(entries: Mapping[str, Any]) -> tuple[Any, ...]:
    """A map; a point in space is one."""
    return Structure(("(map)", *sorted(entries.items())))


def as_point(entries: Mapping[str, Any]) -> tuple[Any, ...]:
    """A point: its system of reference and its coordinates."""
    names = ("longitude", "latitude", "height") if "longitude" in entries else ("x", "y", "z")
    coordinates = (float(entries[name]) for name in names if entries.get(name) is not None)
    return Structure(("(point)", entries["srid"], *coordinates))


def as_temporal(text: str) -> Any:
    """A date, time or both, from ISO 8601 to the microsecond; a time of day stays text.

    Raises:
        Unreadable: The text is none, or its year is none of 1 to 9999.
    """
    plain = _FRACTION.sub(r"\1", text.split("[")[0])
    try:
        return _temporal(plain)
    except ValueError:
        raise Unreadable(f"its result has {text[:60]!r}, no time of the years 1 to 9999") from None


def _temporal(plain: str) -> Any:
    if "T" in plain:
        return datetime.datetime.fromisoformat(plain)
    if plain.count("-") == 2:
        return datetime.date.fromisoformat(plain)
    moment = datetime.time.fromisoformat(plain)
    return Structure(("(time)", moment.isoformat()))


def as_duration(text: str) -> tuple[Any, ...]:
    """A duration: months, days and seconds, which are no multiples of each other.

    Raises:
        ValueError: The text is no ISO 8601 duration.
    """
    found = _DURATION.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration")
    part = {name: float(value) if value else 0.0 for name, value in found.groupdict().items() if name != "sign"}
    sign = -1 if found["sign"] else 1
    months, days = sign * (12 * part["y"] + part["mo"]), sign * (7 * part["w"] + part["d"])
    return Structure(("(duration)", months, days, sign * (3600 * part["h"] + 60 * part["mi"] + part["s"])))


def unordered(value: Any) -> Any:
    """A value whose lists are in an order of their own, for results in which the order of lists means nothing."""
    if not isinstance(value, (list, tuple)):
        return value
    if value and isinstance(value[0], str) and value[0].startswith("(") and value[0].endswith(")"):
        return (value[0], *map(unordered, value[1:]))
    return tuple(sorted(map(unordered, value), key=_order))


def _order(value: Any) -> tuple[str, Any]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return ("number", float(value))
    return (type(value).__name__, repr(value))
