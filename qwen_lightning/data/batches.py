"""The batches that the modules receive, and how they are built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from qwen_lightning.data.buckets import padded
from qwen_lightning.data.encoding import Encoded
from qwen_lightning.records import RecordBase

IGNORED = -100


class SFTBatch(TypedDict):
    """Examples of any tasks, one a row, longest first, padded on the right to a multiple of 8.

    `input_ids`, `labels` and `attention_mask` are int64 of shape (batch, length). `labels` hold the completion's ids
    in place and -100 elsewhere; they are not shifted.
    """

    input_ids: Tensor
    labels: Tensor
    attention_mask: Tensor
    records: list[RecordBase]
    lengths: list[int]
    """Tokens of each row, as `buckets.micro_batches` takes them."""
    tokens: int
    """Tokens that are not padding."""


class SFTBatchSource:
    """Pads encoded examples into batches."""

    def __init__(self, encoded: Encoded, pad_id: int) -> None:
        self.encoded, self.pad_id = encoded, pad_id

    def __getitem__(self, positions: Sequence[int]) -> SFTBatch:
        rows = [(self.encoded.prompts[i], self.encoded.completions[i]) for i in positions]
        lengths = [len(prompt) + len(completion) for prompt, completion in rows]
        width = padded(max(lengths))
        input_ids = torch.full((len(rows), width), self.pad_id)
        labels = torch.full((len(rows), width), IGNORED)
        attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
        for row, ((prompt, completion), length) in enumerate(zip(rows, lengths, strict=True)):
            input_ids[row, :length] = torch.tensor(prompt + completion)
            labels[row, len(prompt) : length] = torch.tensor(completion)
            attention_mask[row, :length] = 1
        return {
            "input_ids": input_ids,
            "labels": labels,
            "attention_mask": attention_mask,
            "records": [self.encoded.records[i] for i in positions],
            "lengths": lengths,
            "tokens": sum(lengths),
        }


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
