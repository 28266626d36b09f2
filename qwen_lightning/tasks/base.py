"""Task: one room for how a task is asked, answered and judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from qwen_lightning.errors import ConfigError, DataError
from qwen_lightning.records import RecordBase
from qwen_lightning.tasks.task_check import TaskCheck
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
    """How records of one task are rendered. Imports no torch and no database driver.

    A task of one's own needs a `record_type` only where its records have fields beyond those that all have.
    """

    name: ClassVar[str]
    record_type: ClassVar[type[RecordBase]] = RecordBase
    #: How to answer: what the system message says after the tag, before schema or slots.
    rule: ClassVar[str] = ""

    def tag(self, record: R) -> str | None:
        """The task tag, first line of the system message; None for plain chat."""
        return f"[TASK={self.name.upper()}]"

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

    checks: tuple[str, ...]
    decides: ClassVar[str | None] = None
    implied: ClassVar[frozenset[str]] = frozenset()
    graded: frozenset[str] = frozenset()
    added: tuple[TaskCheck, ...] = ()

    @abstractmethod
    def verify(self, record: R, completion: str) -> Verdict:
        """Judge one completion. A wrong completion is a verdict; a dead executor raises ExecutionError."""

    def verify_all(self, record: R, completion: str) -> Verdict:
        """The whole verdict: what `verify` says, and the checks that were added.

        Raises:
            ExecutionError: The executor cannot work.
        """
        verdict = self.verify(record, completion)
        if not self.added:
            return verdict
        checks, reasons = dict(verdict.checks), [verdict.detail]
        for check in self.added:
            value, reason = check.measure(record, completion)
            if value is not None:
                checks[check.name] = value
                if value < 1:
                    reasons.append(f"{check.name}: {reason or 'fails'}")
        return Verdict(checks, "; ".join(reason for reason in reasons if reason), verdict.gaps)

    def evaluate(self, record: R, completion: str) -> Verdict:
        """The verdict in evaluation: `verify_all`, and what is too dear for training where the task has such a check.

        Raises:
            ExecutionError: The executor cannot work.
        """
        return self.verify_all(record, completion)

    def add(self, check: TaskCheck) -> None:
        """Give every completion one check more.

        Raises:
            ConfigError: The task has a check of that name.
        """
        if check.name in self.checks:
            raise ConfigError(f"tasks.checks: {self.name} has a check {check.name!r} already; give yours another name")
        self.checks = (*self.checks, check.name)
        self.added = (*self.added, check)
        if check.graded:
            self.graded = self.graded | {check.name}

    def close(self) -> None:
        """Release what verification holds (worker pools, connections)."""
