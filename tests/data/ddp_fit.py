"""One of two processes: fits a scalar on SFT and on GRPO data, whole and in two halves, and writes what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from qwen_lightning.data.batches import SFTBatch
from qwen_lightning.data.grpo import GRPODataModule
from qwen_lightning.data.sft import SFTDataModule
from qwen_lightning.tasks.registry import TaskRegistry

STEPS = 8


class Watcher(pl.LightningModule):
    """Remembers the ids of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[str]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        records = batch.records if isinstance(batch, SFTBatch) else batch.task_records
        self.seen.append([record.id for record in records])
        return (self.weight - 1) ** 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def datamodule(kind: str, settings: dict[str, str]) -> pl.LightningDataModule:
    """The data of a stage; 24 examples or prompts an epoch."""
    tasks = TaskRegistry()
    if kind == "sft":
        ratios = {"text2sql": 7.0, "general": 1.0}
        files = {"task_sft": settings["task"], "general_sft": settings["general"]}
        return SFTDataModule(tasks, settings["tokenizer"], **files, ratios=ratios, batch_size=2, bucket_window=2)
    return GRPODataModule(
        tasks, settings["tokenizer"], prompts=settings["task"], general_prompts=settings["general"], prompts_per_step=4
    )


def fit(kind: str, settings: dict[str, str], steps: int, resume: str | None = None) -> tuple[Watcher, pl.Trainer]:
    """Fit up to so many steps."""
    module = Watcher()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=datamodule(kind, settings), ckpt_path=resume)
    return module, trainer


def main(settings: dict[str, str]) -> None:
    """Write `<kind>-<rank>.json` into the folder `out`."""
    torch.set_num_threads(1)
    out = Path(settings["out"])
    for kind in ("sft", "grpo"):
        whole, _ = fit(kind, settings, 2 * STEPS)
        first, trainer = fit(kind, settings, STEPS)
        trainer.save_checkpoint(out / f"{kind}.ckpt")
        rest, trainer = fit(kind, settings, 2 * STEPS, str(out / f"{kind}.ckpt"))
        seen = {"whole": whole.seen, "first": first.seen, "rest": rest.seen}
        (out / f"{kind}-{trainer.global_rank}.json").write_text(json.dumps(seen))
    torch.distributed.destroy_process_group()  # a thread of gloo that outlives the interpreter aborts the process


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
