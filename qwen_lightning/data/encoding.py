"""Records as token ids, in memory, and the records that are too long."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from qwen_lightning.errors import ConfigError, DataError
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.records import Located, RecordBase
from qwen_lightning.tasks.base import Task

DEFAULT_MAX_SEQ_LEN = 2048
DEFAULT_MAX_SEQ_LEN_BY_TASK = {"text2sql": 4096, "text2cypher": 4096}
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class TooLong:
    """A record that was left out, with its tokens and the limit that they exceed."""

    item: Located
    length: int
    limit: int

    def __str__(self) -> str:
        return f"{self.item.record.id} ({self.item.file}:{self.item.line}, {self.length} > {self.limit} tokens)"


def sequence_limits(max_seq_len: int | Mapping[str, int] | None, tasks: Iterable[str]) -> dict[str, int]:
    """Tokens allowed for each task: the defaults, with what the config says in their place.

    Raises:
        ConfigError: A limit for an unknown task, or below 1.
    """
    names = list(tasks)
    if isinstance(max_seq_len, int):
        max_seq_len = dict.fromkeys(names, max_seq_len)
    limits = {name: DEFAULT_MAX_SEQ_LEN_BY_TASK.get(name, DEFAULT_MAX_SEQ_LEN) for name in names}
    for name, limit in (max_seq_len or {}).items():
        if name not in limits:
            raise ConfigError(f"max_seq_len names the unknown task {name!r}; known are {', '.join(names)}")
        if limit < 1:
            raise ConfigError(f"max_seq_len of {name} is {limit}; it must be at least 1")
        limits[name] = limit
    return limits


class TokenRows(Sequence[list[int]]):
    """Rows of token ids in one flat buffer, 4 bytes a token."""

    def __init__(self) -> None:
        self._ids = array("i")
        self._ends = array("q", [0])

    def append(self, ids: Sequence[int]) -> None:
        """Add a row."""
        self._ids.extend(ids)
        self._ends.append(len(self._ids))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> list[int]:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._ids[self._ends[index] : self._ends[index + 1]].tolist()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row. Shape (rows,)."""
        ends: NDArray[np.int64] = np.array(self._ends, dtype=np.int64)
        return ends[1:] - ends[:-1]


class Encoded:
    """Records with their token ids: prompts, and completions where there are targets."""

    def __init__(self) -> None:
        self.records: list[RecordBase] = []
        self.prompts = TokenRows()
        self.completions = TokenRows()
        self.too_long: list[TooLong] = []

    def __len__(self) -> int:
        return len(self.records)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of prompt and completion together. Shape (records,)."""
        return self.prompts.lengths + self.completions.lengths

    def add(self, item: Located, prompt: list[int], completion: list[int], reserved: int, limit: int) -> None:
        """Add a record, or list it as too long where its tokens and the `reserved` ones exceed `limit`."""
        length = len(prompt) + len(completion) + reserved
        if length > limit:
            self.too_long.append(TooLong(item, length, limit))
            return
        self.records.append(item.record)
        self.prompts.append(prompt)
        self.completions.append(completion)


def encode_examples(
    items: Iterable[Located], tasks: Mapping[str, Task], renderer: ChatRenderer, limits: Mapping[str, int]
) -> Encoded:
    """Render and tokenise training examples; one that exceeds its task's limit is listed, never cut.

    Raises:
        DataError: A record without gold.
    """
    encoded = Encoded()
    for chunk in _chunks(items):
        prompts = [tasks[item.record.task].prompt(item.record) for item in chunk]
        targets = [_target(item, tasks) for item in chunk]
        for item, example in zip(chunk, renderer.examples(prompts, targets), strict=True):
            encoded.add(item, example.prompt_ids, example.completion_ids, 0, limits[item.record.task])
    return encoded


def encode_prompts(
    items: Iterable[Located],
    tasks: Mapping[str, Task],
    renderer: ChatRenderer,
    limits: Mapping[str, int],
    max_completion_length: int,
) -> Encoded:
    """Render and tokenise prompts; one that leaves no room for a completion is listed, never cut."""
    encoded = Encoded()
    for chunk in _chunks(items):
        prompts = [tasks[item.record.task].prompt(item.record) for item in chunk]
        for item, ids in zip(chunk, renderer.prompts_ids(prompts), strict=True):
            encoded.add(item, ids, [], max_completion_length, limits[item.record.task])
    return encoded


def _target(item: Located, tasks: Mapping[str, Task]) -> str:
    try:
        return tasks[item.record.task].target(item.record)
    except DataError as error:
        raise DataError(error.message, item.file, item.line) from None


def _chunks(items: Iterable[Located], size: int = 1024) -> Iterator[list[Located]]:
    """Many records at a time, for the tokenizer's threads."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def describe_too_long(too_long: Sequence[TooLong], total: int) -> str:
    """One line: how many were left out, and the first ten of them."""
    named = ", ".join(str(entry) for entry in too_long[:_SHOWN])
    more = f", and {len(too_long) - _SHOWN} more" if len(too_long) > _SHOWN else ""
    return (
        f"{len(too_long)} of {total} records are too long and left out: {named}{more}; raise max_seq_len to keep them"
    )
