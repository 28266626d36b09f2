"""Slot filling: one JSON object that satisfies the record's JSON Schema."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from qwen_lightning.errors import DataError
from qwen_lightning.records import SlotRecord
from qwen_lightning.tasks import strict_json
from qwen_lightning.tasks.base import VerifiedTask
from qwen_lightning.tasks.slot_schema import SlotSchema, slot_schema
from qwen_lightning.tasks.slot_values import canonical, passage, scalars
from qwen_lightning.tasks.slots import Pair, Path, elements, f1, given, leaves, pairs
from qwen_lightning.verdict import Verdict


class SlotJSON(VerifiedTask[SlotRecord]):
    """The completion is one JSON object; a slot that the text does not give is left out.

    Checks: `json` (one object and nothing else), `schema` (it satisfies `slots`, without undeclared slots), `f1`
    (micro-F1 over (slot, value) pairs, absent without gold) and `grounded` (no value made up: each stands in the input,
    in a user turn, in an enum of the schema or under the same slot in gold; a boolean is always grounded).

    Null and "unknown" count as absent, and nothing is required. A value that breaks its slot's schema matches nothing,
    so `f1` is 1 only where the object is valid and holds gold's values: it implies all other checks.
    """

    name = "slot_json"
    record_type = SlotRecord
    checks = ("json", "schema", "f1", "grounded")
    decides = "f1"
    implied = frozenset({"json", "schema", "grounded"})
    graded = frozenset({"f1"})
    rule = "Answer with one JSON object for this schema and nothing else."

    def tag(self, record: SlotRecord) -> str:
        return "[TASK=SLOT_JSON]"

    def system(self, record: SlotRecord) -> str:
        schema = json.dumps(record.slots, ensure_ascii=False)
        return f"{self.rule}\n{schema}"

    def target(self, record: SlotRecord) -> str:
        super().target(record)
        return json.dumps(record.gold, ensure_ascii=False)

    def validate(self, record: SlotRecord) -> None:
        """The schema of the slots can be used.

        Raises:
            DataError: It is broken; the message names the place in it.
        """
        _schema(record)

    def verify(self, record: SlotRecord, completion: str) -> Verdict:
        """Judge one completion.

        Raises:
            DataError: The record's schema is broken.
        """
        schema = _schema(record)
        try:
            said = strict_json.parse(completion)
        except strict_json.NotJSON as error:
            return self._failed(record, str(error))
        if not isinstance(said, dict):
            return self._failed(record, "the answer is JSON, but no object")
        slots = given(said)
        gold = _pairs(given(record.gold or {}))
        fault = schema.fault(slots)
        checks, reasons = {"json": 1.0, "schema": float(fault is None)}, [f"schema: {fault}"] if fault else []
        if record.gold is not None:
            right, wrong = _judged(schema, slots, valid=fault is None)
            checks["f1"] = f1(right, wrong, gold)
            reasons += _differences(right, gold)
        made_up = [value for path, value in leaves(slots) if not _is_grounded(record, schema, gold, path, value)]
        checks["grounded"] = float(not made_up)
        reasons += [f"grounded: made up {_short(made_up)}"] if made_up else []
        return Verdict(checks, "; ".join(reasons))

    def _failed(self, record: SlotRecord, reason: str) -> Verdict:
        made = [name for name in self.checks if name != "f1" or record.gold is not None]
        return Verdict(dict.fromkeys(made, 0.0), f"json: {' '.join(reason.split())}")


def _schema(record: SlotRecord) -> SlotSchema:
    try:
        return slot_schema(record.slots)
    except DataError as error:
        raise DataError(f"slot_json record: slots: {error.message}") from None


def _pairs(slots: dict[str, Any]) -> Counter[Pair]:
    return Counter(pair for path, value in leaves(slots) for pair in pairs(path, value))


def _judged(schema: SlotSchema, slots: dict[str, Any], valid: bool) -> tuple[Counter[Pair], int]:
    """The pairs that may match gold's, and how many values may not, because they break the schema."""
    if valid:
        return _pairs(slots), 0
    right: Counter[Pair] = Counter()
    wrong = 0
    for path, value in leaves(slots):
        if schema.takes(path, value):
            right.update(pairs(path, value))
        else:
            wrong += max(1, len(elements(value)))
    # Slots that are valid one by one, but not together: none can be told to be the right one.
    return (right, wrong) if wrong else (Counter(), max(1, right.total()))


def _is_grounded(record: SlotRecord, schema: SlotSchema, gold: Counter[Pair], path: Path, value: Any) -> bool:
    texts = [record.input, *(turn.content for turn in record.history if turn.role == "user")]
    return all(
        isinstance(scalar, bool)
        or canonical(scalar) in schema.listed
        or any(passage(text).gives(scalar) for text in texts)
        for element in elements(value)
        if (path, canonical(element)) not in gold
        for scalar in scalars(element)
    )


def _differences(right: Counter[Pair], gold: Counter[Pair]) -> list[str]:
    """What is not in gold, and what is missing."""
    sides = (("not in gold", right - gold), ("missing", gold - right))
    return [f"f1: {what} {_short(['.'.join(path) for path, _ in side])}" for what, side in sides if side]


def _short(values: list[Any]) -> str:
    text = " ".join(", ".join(map(str, values[:3])).split())
    return (text if len(text) <= 120 else f"{text[:120]}…") + (", …" if len(values) > 3 else "")
