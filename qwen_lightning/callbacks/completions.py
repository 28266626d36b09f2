"""`predict` writes a completions file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter


class CompletionsWriter(BasePredictionWriter):
    """Writes `{"id", "completion"}` a line, in the order of the records; `score` reads it.

    Args:
        output: The file to write.
    """

    def __init__(self, output: str = "completions.jsonl") -> None:
        super().__init__("epoch")
        self.output = output

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        own = [row for batch in predictions for row in batch]
        shards = [own]
        if dist.is_available() and dist.is_initialized():
            shards = [[]] * trainer.world_size
            dist.all_gather_object(shards, own)
        if trainer.is_global_zero:
            # Rank r answered every world_size-th record from r on.
            rows = [shards[i % len(shards)][i // len(shards)] for i in range(sum(map(len, shards)))]
            Path(self.output).write_text(
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
            )
            print(f"{len(rows)} completions: {self.output}")
