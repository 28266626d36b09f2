"""The batches that the modules receive, and how they are built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qwen_lightning.data.encoding import Encoded
from qwen_lightning.records import RecordBase


@dataclass(slots=True)
class SFTBatch:
    """One device's examples of one step, longest first; it holds no tensors and stays where it is."""

    records: list[RecordBase]
    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return [
            len(prompt) + len(completion)
            for prompt, completion in zip(self.prompt_ids, self.completion_ids, strict=True)
        ]


class SFTBatchSource:
    """Looks planned examples up."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded

    def __getitem__(self, positions: Sequence[int]) -> SFTBatch:
        return SFTBatch(
            records=[self.encoded.records[i] for i in positions],
            prompt_ids=[self.encoded.prompts[i] for i in positions],
            completion_ids=[self.encoded.completions[i] for i in positions],
        )


@dataclass(slots=True)
class GRPOBatch:
    """One device's prompts of one step; it holds no tensors and stays where it is."""

    task_records: list[RecordBase]
    general_records: list[RecordBase]
    task_prompt_ids: list[list[int]]
    general_prompt_ids: list[list[int]]


@dataclass(frozen=True, slots=True)
class PromptStep:
    """Which prompts one device takes in one step, as positions."""

    task: list[int]
    general: list[int]


class GRPOBatchSource:
    """Looks planned prompts up."""

    def __init__(self, task: Encoded, general: Encoded) -> None:
        self.task, self.general = task, general

    def __getitem__(self, step: PromptStep) -> GRPOBatch:
        return GRPOBatch(
            task_records=[self.task.records[i] for i in step.task],
            general_records=[self.general.records[i] for i in step.general],
            task_prompt_ids=[self.task.prompts[i] for i in step.task],
            general_prompt_ids=[self.general.prompts[i] for i in step.general],
        )


@dataclass(slots=True)
class EvalBatch:
    """Records to answer, in file order; it holds no tensors and stays where it is."""

    records: list[RecordBase]


class EvalLoader:
    """Yields records in batches; each rank has its share, and no record comes twice.

    Args:
        records: All records, on every rank.
        batch_size: Records a batch.
        rank: This rank; it takes every `world_size`-th record.
        world_size: Number of ranks.
    """

    def __init__(self, records: Sequence[RecordBase], batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.records = list(records)[rank::world_size]
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.records) // self.batch_size)

    def __iter__(self) -> Iterator[EvalBatch]:
        for start in range(0, len(self.records), self.batch_size):
            yield EvalBatch(self.records[start : start + self.batch_size])
