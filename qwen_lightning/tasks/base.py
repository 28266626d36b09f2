"""Task: one room for how a task is asked, answered and judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from qwen_lightning.errors import DataError
from qwen_lightning.records import RecordBase
from qwen_lightning.verdict import Verdict

R = TypeVar("R", bound=RecordBase)
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model sees before it answers.

    Args:
        messages: Chat messages, each with `role` and `content`.
        tools: OpenAI tool objects for the tokenizer's chat template.
    """

    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)


class Task(ABC, Generic[R]):
    """How records of one task are rendered. Imports no torch and no database driver."""

    name: ClassVar[str]
    record_type: ClassVar[type[RecordBase]]

    @abstractmethod
    def tag(self, record: R) -> str | None:
        """The task tag, first line of the system message; None for plain chat."""

    @abstractmethod
    def system(self, record: R) -> str:
        """What the system message holds after the tag: output rules, then schema or slots."""

    def tools(self, record: R) -> list[dict[str, Any]]:
        """Tools for the chat template; none unless the task says so."""
        return []

    def validate(self, record: R) -> None:
        """Check what the record type alone cannot know; nothing unless the task says so.

        Raises:
            DataError: The record breaks a rule of this task; the message names the field.
        """

    def prompt(self, record: R) -> Prompt:
        """Render the conversation up to the answer; system turns of the history join the system message."""
        parts = [self.tag(record) or "", self.system(record)]
        parts += [turn.content for turn in record.history if turn.role == "system"]
        system = "\n".join(part for part in parts if part)
        messages = [{"role": "system", "content": system}] if system else []
        messages += [{"role": turn.role, "content": turn.content} for turn in record.history if turn.role != "system"]
        messages.append({"role": "user", "content": record.input})
        return Prompt(messages, self.tools(record))

    def target(self, record: R) -> str:
        """The completion that SFT trains on, whole.

        Raises:
            DataError: The record has no gold.
        """
        if record.gold is None:
            raise DataError(f"{self.name} record {record.id!r} has no gold; SFT needs one")
        return str(record.gold)


class VerifiedTask(Task[R]):
    """A task whose completions can be judged.

    Subclasses name their `checks` and the one that `decides` (1 exactly on a right answer, given a gold).
    `implied` are the checks that hold wherever the deciding one does; `graded` those that may lie between 0 and 1.
    """

    checks: ClassVar[tuple[str, ...]]
    decides: ClassVar[str | None] = None
    implied: ClassVar[frozenset[str]] = frozenset()
    graded: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def verify(self, record: R, completion: str) -> Verdict:
        """Judge one completion. A wrong completion is a verdict; a dead executor raises ExecutionError."""

    def close(self) -> None:
        """Release what verification holds (worker pools, connections)."""
