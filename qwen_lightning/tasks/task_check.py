"""TaskCheck: a check of one's own, beside those that a task makes of its completions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from qwen_lightning.tasks.checks.base import CheckResult

__all__ = ["CheckResult", "TaskCheck"]


class TaskCheck(ABC):
    """A named check that every completion of one task gets.

    Register it under `tasks.checks` by class_path. The name then works wherever a check's name does: in reward weights,
    metrics, red lines and score files. `check` reports a gold that fails it.
    """

    task: ClassVar[str]
    name: ClassVar[str]
    #: Whether the value may lie between 0 and 1.
    graded: ClassVar[bool] = False

    @abstractmethod
    def measure(self, record: Any, completion: str) -> CheckResult:
        """Judge a completion as the model gave it; a value of None means that the check could not be made."""
