"""What the converters of slot data sets share: a JSON Schema of slots from the values that the data give."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from qwen_lightning.tasks.slot_values import passage

#: A slot whose values stand so often on average has a fixed choice of values.
CHOICE_REPEATS = 10
#: A slot that takes so large a share of its turns more than one value is a list.
LIST_SHARE = 0.01

#: A slot's name; of data sets with domains, (domain, slot).
Slot = Hashable
Values = Mapping[Any, Sequence[str]]


class SlotKinds:
    """What kind each slot is, by what a whole data set says.

    A slot that at least one in a hundred of its turns gives twice is a list.

    Args:
        turns: Slot to values of each turn, with the texts of the user.
        choices: Whether a slot whose values stand ten times on average has a fixed choice: of the values that some
            turn gives in words.
        closed: Sets of values, such as yes and no, that are a choice whenever a slot has no others.
    """

    def __init__(
        self, turns: Iterable[tuple[Values, Sequence[str]]], choices: bool, closed: Sequence[Sequence[str]] = ()
    ) -> None:
        counts: defaultdict[Slot, Counter[str]] = defaultdict(Counter)
        said: defaultdict[Slot, dict[str, None]] = defaultdict(dict)
        given, several = Counter[Slot](), Counter[Slot]()
        for slots, texts in turns:
            for slot, values in slots.items():
                given[slot] += 1
                several[slot] += len(set(values)) > 1
                for value in values:
                    counts[slot][value] += 1
                    if any(passage(text).gives(value) for text in texts):
                        said[slot].setdefault(value)
        self._choices: dict[Slot, list[str]] = {}
        for slot, values in counts.items():
            if whole := next((choice for choice in closed if set(values) <= set(choice)), None):
                self._choices[slot] = list(whole)
            elif choices and said[slot] and values.total() >= CHOICE_REPEATS * len(values):
                self._choices[slot] = sorted(said[slot])
        self._lists = {slot for slot, count in several.items() if count and count >= LIST_SHARE * given[slot]}

    def schema(self, slot: Slot) -> dict[str, Any]:
        """The JSON Schema of one slot's value."""
        value: dict[str, Any] = {"type": "string"}
        if slot in self._choices:
            value["enum"] = self._choices[slot]
        return {"type": "array", "items": value} if slot in self._lists else value

    def gold(self, slot: Slot, values: Sequence[str]) -> Any:
        """A slot's value in gold: a list where the slot is one."""
        return list(dict.fromkeys(values)) if slot in self._lists else values[0]

    def fits(self, slot: Slot, values: Sequence[str]) -> bool:
        """Whether the values are as many as the slot takes."""
        return slot in self._lists or len(set(values)) == 1
