"""Supervised fine-tuning of one adapter: the multi-task Base-SFT, or PERSONA."""

from __future__ import annotations

import time
from typing import Any

import torch

from qwen_lightning.data.batches import SFTBatch
from qwen_lightning.data.packing import ExamplePack, lay_out, plan_packs, split_packs
from qwen_lightning.losses.base import LossOutput, StepTotals
from qwen_lightning.losses.logprobs import token_logprobs
from qwen_lightning.losses.sft import SFTLoss
from qwen_lightning.metrics.step import StepMetrics
from qwen_lightning.models.backbone import DType, Quantization
from qwen_lightning.models.checkpointing import CheckpointingMode
from qwen_lightning.models.kernels import Kernels
from qwen_lightning.models.policy import LoRASettings
from qwen_lightning.modules.base import AdapterModule, Schedule
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.base import RolloutEngine
from qwen_lightning.tasks.registry import TaskRegistry


class SFTModule(AdapterModule):
    """Trains the policy adapter on the completions of records.

    Args:
        name_or_path: Backbone, a hub id or a folder.
        adapter: Adapter folder to start from; null starts a new adapter on the bare backbone.
        lora: Shape of a new adapter; with `adapter`, its dropout alone counts.
        tasks: The tasks; filled in from the top-level `tasks`.
        rewards: The rewards; filled in from the top-level `rewards`.
        rollout: Engine that completes prompts in evaluation.
        revision: Revision of a hub id.
        quantization: `nf4` or `none`.
        dtype: Type of the computation.
        gradient_checkpointing: Recompute layers in backward, to save memory: `auto` as many as the GPU's free memory
            asks for (none on a CPU), true for all, false for none.
        kernels: On CUDA, `auto` takes norms, rotary embedding and SwiGLU from liger-kernel where it is installed;
            `liger` insists on them, `none` leaves transformers' own.
        max_completion_length: Length limit of a completion in evaluation, in tokens.
        learning_rate: Peak learning rate.
        weight_decay: AdamW's.
        betas: AdamW's.
        warmup_steps: Optimizer steps of linear warm-up.
        schedule: `constant`, `linear` or `cosine` after the warm-up.
        gradient_clip: Largest norm of the gradient; 0 for none.
        micro_batch_tokens: Most tokens of a pack, which is one forward and backward pass, padding included. Examples
            are packed up to it, so that the fixed cost of a pass, NF4 weights dequantised once a layer among it, is
            paid as seldom as can be.
    """

    stage = "sft"

    def __init__(
        self,
        name_or_path: str,
        adapter: str | None = None,
        lora: LoRASettings | None = None,
        tasks: TaskRegistry | None = None,
        rewards: RewardTable | None = None,
        rollout: RolloutEngine | None = None,
        revision: str | None = None,
        quantization: Quantization = "nf4",
        dtype: DType = "bfloat16",
        gradient_checkpointing: CheckpointingMode = "auto",
        kernels: Kernels = "auto",
        max_completion_length: int = 256,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        warmup_steps: int = 50,
        schedule: Schedule = "cosine",
        gradient_clip: float = 1.0,
        micro_batch_tokens: int = 16384,
    ) -> None:
        super().__init__(
            name_or_path=name_or_path,
            adapter=adapter,
            lora=lora,
            tasks=tasks,
            rewards=rewards,
            rollout=rollout,
            revision=revision,
            quantization=quantization,
            dtype=dtype,
            gradient_checkpointing=gradient_checkpointing,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            betas=betas,
            warmup_steps=warmup_steps,
            schedule=schedule,
            gradient_clip=gradient_clip,
            micro_batch_tokens=micro_batch_tokens,
            max_completion_length=max_completion_length,
            with_reference=False,
            kernels=kernels,
        )
        self.loss = SFTLoss()

    def training_step(self, batch: SFTBatch, batch_idx: int) -> None:
        started, rate = time.perf_counter(), self.current_learning_rate
        packs = self._packs(batch)
        own = StepTotals(sum(pack.examples for pack in packs), sum(len(pack.labels) for pack in packs))
        totals = own.over_ranks(self.reduce(own.as_tensor()), self.trainer.world_size)
        metrics = StepMetrics()
        outputs, norm = self.step_over(packs, lambda pack: self.loss_of(pack, totals))
        metrics.update(outputs, norm)
        seconds = time.perf_counter() - started
        values = metrics.compute()
        tokens = self.trainer.world_size * sum(pack.tokens for pack in packs)
        shown: dict[str, Any] = {"loss": values.pop("loss"), "lr": rate, "tokens_per_second": tokens / seconds}
        self.log_dict({f"train/{name}": value for name, value in values.items()})
        self.log_dict({f"train/{name}": value for name, value in shown.items()}, prog_bar=True)

    def loss_of(self, pack: ExamplePack, totals: StepTotals) -> LossOutput:
        """One pack's share of the optimizer step's loss, and the share of its tokens that are padding."""
        hidden = self.policy.hidden_states(pack.input_ids, pack.visible, pack.position_ids).flatten(0, 1)
        logprobs, entropies = token_logprobs(hidden[pack.predictors], self.policy.head, pack.labels)
        output = self.loss(logprobs, torch.ones_like(logprobs, dtype=torch.bool), totals, entropies)
        computed = pack.input_ids.numel()
        padding = torch.tensor([computed - pack.tokens, computed], device=hidden.device)
        return LossOutput(output.loss, output.metrics | {"padding": padding})

    def _packs(self, batch: SFTBatch) -> list[ExamplePack]:
        """As many on every rank, unless a rank has fewer examples."""
        layout, lengths = self.policy.layout, batch.lengths
        plan = plan_packs(lengths, self.micro_batch_tokens, layout, self.device)
        count = int(self.reduce(torch.tensor(len(plan)), "max"))
        return [
            lay_out(batch.prompt_ids, batch.completion_ids, members, layout, self.device)
            for members in split_packs(plan, lengths, count)
        ]
