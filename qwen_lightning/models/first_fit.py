"""Which sequences share a row."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from qwen_lightning.models.attention import flex_capacity, flex_length


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices of each row: a sequence goes into the first row that has room for it; a longer one is alone.

    Of sequences that come longest first it makes at most 11/9 of the fewest rows, and one more (Johnson, 1973).
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index, length in enumerate(lengths):
        found = next((row for row, left in enumerate(room) if left >= length), None)
        if found is None:
            found = len(rows)
            rows.append([])
            room.append(capacity)
        rows[found].append(index)
        room[found] -= length
    return rows


def least_capacity(packs: Callable[[int], int], least: int, most: int, wanted: int) -> int:
    """The smallest capacity that makes no more than the packs that are wanted; it makes them alike.

    Args:
        packs: How many packs a capacity makes.
        least: The smallest capacity to try.
        most: The largest, which is returned where no smaller one will do.
        wanted: Packs.
    """
    return least + bisect_left(range(least, most), True, key=lambda capacity: packs(capacity) <= wanted)


def flex_rows(lengths: Sequence[int], budget: int, at_least: int = 1) -> list[list[int]]:
    """Indices of each pack of one row, as few as there can be, none of them nearly empty.

    Packs are of one length that FlexAttention compiles for, the shortest that needs no more of them; the last holds
    what is left. This takes fewer lengths, and no more tokens, than filling packs up to the budget.

    Args:
        lengths: Tokens of each sequence, longest first.
        budget: Most tokens of a pack, padding included; a longer sequence is alone.
        at_least: How many packs to make, even of fewer tokens, where there are sequences enough.
    """
    if not lengths:
        return []
    most = flex_capacity(budget)
    wanted = max(len(first_fit(lengths, most)), at_least)
    least = least_capacity(lambda capacity: len(first_fit(lengths, capacity)), min(lengths[0], most), most, wanted)
    even, whole = first_fit(lengths, least), first_fit(lengths, min(flex_length(least), most))
    return whole if len(whole) == len(even) else even
