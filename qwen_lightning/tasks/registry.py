"""The tasks that a command knows: the seven built-in ones, and a user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qwen_lightning.errors import ConfigError
from qwen_lightning.execution.base import QueryExecutor
from qwen_lightning.tasks.base import Task, VerifiedTask
from qwen_lightning.tasks.function_call import FunctionCall
from qwen_lightning.tasks.general import General
from qwen_lightning.tasks.intent_rewrite import IntentRewrite
from qwen_lightning.tasks.persona import Persona
from qwen_lightning.tasks.reading import TaskRecordReader
from qwen_lightning.tasks.slot_json import SlotJSON
from qwen_lightning.tasks.task_check import TaskCheck
from qwen_lightning.tasks.text2cypher import Text2Cypher
from qwen_lightning.tasks.text2sql import Text2SQL


class TaskRegistry(Mapping[str, Task]):
    """Task name to task.

    Args:
        sql: Where SQL runs, a `DuckDBExecutor` or `PostgresExecutor`; without one SQL is checked statically.
        cypher: Where Cypher runs, an `ArcadeDBExecutor` or `Neo4jExecutor`; without one it is checked statically.
        custom: Tasks of one's own by class_path; one with a built-in name takes its place.
        checks: Checks of one's own by class_path, each added to the task that it names.

    Raises:
        ConfigError: A check names a task that cannot take it.
    """

    def __init__(
        self,
        sql: QueryExecutor | None = None,
        cypher: QueryExecutor | None = None,
        custom: list[Task] | None = None,
        checks: list[TaskCheck] | None = None,
    ) -> None:
        builtin: list[Task] = [
            IntentRewrite(),
            SlotJSON(),
            FunctionCall(),
            Text2SQL(sql),
            Text2Cypher(cypher),
            General(),
            Persona(),
        ]
        self._tasks: dict[str, Task] = {task.name: task for task in [*builtin, *(custom or [])]}
        for check in checks or []:
            if check.task == General.name:
                raise ConfigError("tasks.checks: general records name their checks themselves; give yours to General")
            self.verified(check.task).add(check)
        self.reader = TaskRecordReader(self._tasks)

    def __getitem__(self, name: str) -> Task:
        return self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def verified(self, name: str) -> VerifiedTask:
        """The task, where its completions can be judged.

        Raises:
            ConfigError: The task has no verifier.
        """
        task = self._tasks.get(name)
        if not isinstance(task, VerifiedTask):
            judged = ", ".join(name for name, task in self._tasks.items() if isinstance(task, VerifiedTask))
            raise ConfigError(f"task {name!r} has no verifier; those that have: {judged}")
        return task

    def close(self) -> None:
        """Stop the executors behind the tasks."""
        for task in self._tasks.values():
            if isinstance(task, VerifiedTask):
                task.close()
