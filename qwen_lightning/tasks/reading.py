"""Reading records with what their tasks know of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import create_model

from qwen_lightning.errors import DataError
from qwen_lightning.records import RecordBase, RecordReader
from qwen_lightning.tasks.base import Task


class TaskRecordReader(RecordReader):
    """A record reader that also asks each record's task whether it is valid.

    Args:
        tasks: Task name to task.
    """

    def __init__(self, tasks: Mapping[str, Task[Any]]) -> None:
        super().__init__({name: _record_type(task) for name, task in tasks.items()})
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


def _record_type(task: Task[Any]) -> type[RecordBase]:
    """The task's record type; where it has none of its own, one that takes records with this task's name."""
    if task.record_type is not RecordBase:
        return task.record_type
    literal: Any = Literal[task.name]
    return create_model(f"{type(task).__name__}Record", __base__=RecordBase, task=(literal, ...))
