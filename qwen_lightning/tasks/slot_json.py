"""Slot filling: one JSON object that satisfies the record's JSON Schema."""

import json

from qwen_lightning.records import SlotRecord
from qwen_lightning.tasks.base import Task


class SlotJSON(Task[SlotRecord]):
    """The completion is one JSON object; a slot that the text does not give is left out."""

    name = "slot_json"
    record_type = SlotRecord

    def tag(self, record: SlotRecord) -> str:
        return "[TASK=SLOT_JSON]"

    def system(self, record: SlotRecord) -> str:
        schema = json.dumps(record.slots, ensure_ascii=False)
        return f"Answer with one JSON object for this schema and nothing else.\n{schema}"

    def target(self, record: SlotRecord) -> str:
        super().target(record)
        return json.dumps(record.gold, ensure_ascii=False)
