import json

import pytest

from qwen_lightning.errors import DataError
from qwen_lightning.records import RecordBase
from qwen_lightning.tasks.base import Task
from qwen_lightning.tasks.reading import TaskRecordReader
from qwen_lightning.tasks.registry import TaskRegistry


class Haiku(Task):
    """A task that takes only short inputs."""

    name = "haiku"
    record_type = type("HaikuRecord", (RecordBase,), {"__annotations__": {}})

    def tag(self, record):
        return None

    def system(self, record):
        return ""

    def validate(self, record):
        if len(record.input) > 5:
            raise DataError("haiku record: input is longer than 5")


def test_what_a_task_refuses_is_a_fault_of_its_line(tmp_path):
    path = tmp_path / "r.jsonl"
    rows = [{"id": str(n), "task": "haiku", "input": text} for n, text in enumerate(["frog", "old pond", "splash"])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = list(TaskRecordReader({"haiku": Haiku()}).scan(path))
    assert found[0].record.id == "0"
    assert [str(fault) for fault in found[1:]] == [f"{path}:{n}: haiku record: input is longer than 5" for n in (2, 3)]
    with pytest.raises(DataError, match=":2: haiku record"):
        TaskRecordReader({"haiku": Haiku()}).read(path)


def test_the_registry_reads_with_its_tasks():
    record = {"id": "1", "task": "general", "input": "Hi", "checks": [{"type": "no_coma"}]}
    with pytest.raises(DataError, match="f:3: general record: unknown check type"):
        TaskRegistry().reader.parse(record, "f", 3)
