"""Parts that a config names by class_path: fixed completions, rewards by counting, gradients in a file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from qwen_lightning.data.packing import ExamplePack
from qwen_lightning.losses.base import LossOutput, StepTotals
from qwen_lightning.losses.logprobs import HEAD_ROWS
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.checkpointing import RESERVE, Checkpointing, measure_activations
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.modules.base import AdapterModule
from qwen_lightning.modules.sft import SFTModule
from qwen_lightning.records import GeneralRecord, SQLRecord
from qwen_lightning.rollout.base import Completion, RolloutEngine
from qwen_lightning.rollout.grouped.engine import GroupedRollout
from qwen_lightning.rollout.packs import TokenSequence, build_packs, completion_logprobs
from qwen_lightning.tasks.general import General
from qwen_lightning.tasks.text2sql import Text2SQL
from qwen_lightning.verdict import Verdict


class ReplayRollout(RolloutEngine):
    """Completions that depend on the prompt alone, so that any split over ranks sees the same ones."""

    def sample(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        prompts: list[list[int]],
        counts: Sequence[int],
        max_new_tokens: int,
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        drawn = [
            [self._ids(prompt, sample, renderer, max_new_tokens) for sample in range(count)]
            for prompt, count in zip(prompts, counts, strict=True)
        ]
        sequences = [TokenSequence(p, ids) for p, group in zip(prompts, drawn, strict=True) for ids in group]
        scores: list[torch.Tensor] = [torch.empty(0)] * len(sequences)
        with policy.evaluating():
            for pack in build_packs(sequences, range(len(sequences)), 2048, policy.device):
                values = completion_logprobs(policy, pack, temperature or 1.0)[0]
                for row, member in enumerate(pack.members):
                    scores[member] = values[row, : len(sequences[member].completion)]
        found = iter(scores)
        return [[Completion(ids, next(found), truncated=False) for ids in group] for group in drawn]

    @staticmethod
    def _ids(prompt: list[int], sample: int, renderer: ChatRenderer, most: int) -> list[int]:
        generator = torch.Generator().manual_seed(sum(prompt) * 31 + sample)
        length = int(torch.randint(2, most - 1, (1,), generator=generator))
        drawn = torch.randint(10, 300, (length,), generator=generator).tolist()
        text = " ".join(["SELECT COUNT(*)", renderer.decode(drawn)]) if sample % 2 else "SELECT 1"
        return [*renderer.tokenizer(text, add_special_tokens=False)["input_ids"][:most], renderer.end_of_turn]


class CountingSQL(Text2SQL):
    """Judges by counting characters, so that a model of random weights gets rewards that differ."""

    def verify(self, record: SQLRecord, completion: str) -> Verdict:
        odd, many = len(completion) % 2, len(set(completion)) > 6
        return Verdict({"executes": float(odd), "references": float(many), "match": 0.0})


class DroppingGeneral(General):
    """Every answer is right at first, and wrong from a number of verdicts on: a made-up loss of general ability."""

    def __init__(self, right: int) -> None:
        super().__init__()
        self.right, self.judged = right, itertools.count()

    def verify(self, record: GeneralRecord, completion: str) -> Verdict:
        return Verdict({"all": float(next(self.judged) < self.right)})


class FirstStep(Callback):
    """Writes the first optimizer step's loss and gradients, and stops nothing."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if trainer.global_step == 0 and trainer.is_global_zero:
            grads = {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}
            torch.save(grads, self.folder / "gradients.pt")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        path = self.folder / "loss.json"
        if trainer.is_global_zero and not path.exists():
            path.write_text(json.dumps({k: float(v) for k, v in trainer.callback_metrics.items()}))


class RankWeights(Callback):
    """Writes every rank's adapter and optimizer after each step."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, AdapterModule)
        state = {
            "adapter": pl_module.policy.adapter_state(),
            "optimizer": trainer.optimizers[0].state_dict()["state"],
            "factors": (pl_module.lr_factor, getattr(pl_module, "brake_factor", None)),
        }
        torch.save(state, self.folder / f"rank{trainer.global_rank}-step{trainer.global_step}.pt")


class ShortOfMemory(SFTModule):
    """Runs out of memory in the second pack of a step, as long as not all layers are recomputed."""

    every = 2

    def loss_of(self, pack: ExamplePack, totals: StepTotals) -> LossOutput:
        self.passes = getattr(self, "passes", 0) + 1
        output = super().loss_of(pack, totals)
        if self.passes % self.every == 0 and self.checkpointing.recomputed < 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return output


class ShortWhenMeasured(ShortOfMemory):
    """Runs out of memory in the very pass that is to be measured."""

    every = 1

    def configure_model(self) -> None:
        super().configure_model()
        self.checkpointing.free = lambda: 1e15  # type: ignore[method-assign]


class OneLayerFits(SFTModule):
    """A step may take what it takes with the first layer recomputed; from the second step on, nothing is left."""

    def configure_model(self) -> None:
        super().configure_model()
        settings = (self.policy.backbone, self.gradient_checkpointing, self.micro_batch_tokens, HEAD_ROWS)
        self.checkpointing = _RoomForOne(self, *settings)


class _RoomForOne(Checkpointing):
    def __init__(self, module: SFTModule, *settings: Any) -> None:
        super().__init__(*settings)
        self.module, self.room = module, 0.0

    def free(self) -> float | None:
        return self.room if self.module.global_step == 0 else 0.0

    def prepare(self, tokens: int, forward: Callable[[], Any]) -> str | None:
        if not self.room:
            measured = measure_activations(self.model, tokens, forward)
            self.room = RESERVE + self._adapters() + measured.peak(max(tokens, self.pack_tokens), 1, self._head)
        return super().prepare(tokens, forward)


class SaysWhenItReleases(GroupedRollout):
    """Says so on each release; closing is one."""

    def release(self) -> None:
        print("released")
        super().release()
