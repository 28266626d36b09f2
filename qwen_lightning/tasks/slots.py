"""Slots as (slot, value) pairs, and their F1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from qwen_lightning.tasks.slot_values import canonical

Path = tuple[str, ...]
Pair = tuple[Path, Hashable]
_ABSENT = object()


def given(slots: Mapping[str, Any]) -> dict[str, Any]:
    """The slots that say something: null and "unknown" are left out at any depth, and so is what they leave empty."""
    return {name: value for name, item in slots.items() if (value := _given(item)) is not _ABSENT}


def _given(value: Any) -> Any:
    if value is None or (isinstance(value, str) and value.strip().casefold() == "unknown"):
        return _ABSENT
    if not isinstance(value, dict | list) or not value:
        return value
    found = given(value) if isinstance(value, dict) else [kept for v in value if (kept := _given(v)) is not _ABSENT]
    return found or _ABSENT


def leaves(slots: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each slot with its value; the slots of an object within stand under its path."""
    for name, value in slots.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


def elements(value: Any) -> list[Any]:
    """The values that a slot gives: those of a list, none of an empty object, else the one.

    An object or list within a list is one value, so that what belongs together is compared together.
    """
    return value if isinstance(value, list) else [] if value == {} else [value]


def pairs(path: Path, value: Any) -> list[Pair]:
    """The (slot, value) pairs of one slot."""
    return [(path, canonical(element)) for element in elements(value)]


def f1(said: Counter[Pair], wrong: int, gold: Counter[Pair]) -> float:
    """Micro-F1 over (slot, value) pairs as bags.

    Args:
        said: The pairs of an answer.
        wrong: How many more it holds that match nothing.
        gold: The pairs of the gold.

    Returns:
        In [0, 1]; 1 exactly where the bags are equal and `wrong` is 0.
    """
    total = said.total() + wrong + gold.total()
    return 2 * (said & gold).total() / total if total else 1.0
