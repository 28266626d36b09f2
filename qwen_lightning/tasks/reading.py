"""Reading records with what their tasks know of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwen_lightning.errors import DataError
from qwen_lightning.records import RecordBase, RecordReader
from qwen_lightning.tasks.base import Task


class TaskRecordReader(RecordReader):
    """A record reader that also asks each record's task whether it is valid.

    Args:
        tasks: Task name to task.
    """

    def __init__(self, tasks: Mapping[str, Task[Any]]) -> None:
        super().__init__({name: task.record_type for name, task in tasks.items()})
        self._tasks = tasks

    def parse(self, value: Any, file: str | Path | None = None, line: int | None = None) -> RecordBase:
        """Validate one decoded JSON value, by its type and by its task.

        Raises:
            DataError: The value is not a record of its task; the message names the field.
        """
        record = super().parse(value, file, line)
        try:
            self._tasks[record.task].validate(record)
        except DataError as error:
            raise DataError(error.message, file, line) from None
        return record
