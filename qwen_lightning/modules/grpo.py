"""GRPO on one task: sample, verify, compare within the group, step, and stay near the reference.

Shao and others, DeepSeekMath, 2024; the conventions are those of `losses.grpo`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.data.batches import GRPOBatch
from qwen_lightning.errors import AdapterError, ConfigError, ProbeError
from qwen_lightning.losses.base import LossOutput, StepTotals
from qwen_lightning.losses.grpo import GRPOLoss, LossInputs
from qwen_lightning.metrics.step import StepMetrics
from qwen_lightning.metrics.verdicts import VerdictMetrics
from qwen_lightning.models.backbone import DType, Quantization
from qwen_lightning.models.checkpointing import CheckpointingMode
from qwen_lightning.models.kernels import Kernels
from qwen_lightning.models.policy import LoRASettings
from qwen_lightning.modules.base import AdapterModule, Schedule, require_at_least
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.advantages import Scale, flat_groups, reward_std
from qwen_lightning.rollout.base import RolloutEngine
from qwen_lightning.rollout.collect import Collector
from qwen_lightning.rollout.experience import Experience
from qwen_lightning.rollout.packs import Pack, completion_logprobs, lay_out, plan_packs
from qwen_lightning.tasks.registry import TaskRegistry
from qwen_lightning.tasks.verification import Verifier

_PROBED = 16  # completions that the start-up probes look at
_SAME = 1e-3  # log-prob difference that rounding explains


class GRPOModule(AdapterModule):
    """Trains the policy adapter on one verifiable reward, with the Base-SFT adapter as frozen reference.

    Args:
        name_or_path: Backbone, a hub id or a folder.
        adapter: Adapter folder that policy and reference start from (Base-SFT).
        tasks: The tasks; filled in from the top-level `tasks`.
        rewards: The rewards; filled in from the top-level `rewards`.
        rollout: Engine that samples completions.
        loss: The policy loss.
        revision: Revision of a hub id.
        quantization: `nf4` or `none`.
        dtype: Type of the computation.
        gradient_checkpointing: Recompute layers in backward, to save memory: `auto` as many as the GPU's free memory
            asks for (none on a CPU), true for all, false for none.
        kernels: On CUDA, `auto` takes norms, rotary embedding and SwiGLU from liger-kernel where it is installed;
            `liger` insists on them, `none` leaves transformers' own.
        group_size: Completions a prompt.
        max_completion_length: Length limit of a completion, in tokens.
        temperature: Of sampling; the log-probs of the loss use the same.
        beta: Weight of the KL term, above 0; the brake multiplies it.
        scale_rewards: What advantages are divided by: the std of the group, of the batch, or nothing.
        mask_truncated: Leave completions that the length limit cut out of loss and statistics.
        resample_flat_groups: How often a group whose rewards are all equal is sampled anew.
        inner_epochs: Passes over one rollout.
        updates_per_rollout: Optimizer steps a pass.
        learning_rate: Peak learning rate.
        weight_decay: AdamW's.
        betas: AdamW's.
        warmup_steps: Optimizer steps of linear warm-up.
        schedule: `constant`, `linear` or `cosine` after the warm-up.
        gradient_clip: Largest norm of the gradient; 0 for none.
        micro_batch_tokens: Tokens a forward and backward pass, padding included.
        share_prompts: Compute a prompt once for its whole group in update and log-probs (Llama, Qwen2 and Qwen3); false
            for a row a completion.
        probe_tolerance: Largest mean difference between the engine's and the trainer's log-probs at the start.
        verify_threads: Completions verified at once.
    """

    stage = "grpo"

    def __init__(
        self,
        name_or_path: str,
        adapter: str,
        tasks: TaskRegistry | None = None,
        rewards: RewardTable | None = None,
        rollout: RolloutEngine | None = None,
        loss: GRPOLoss | None = None,
        revision: str | None = None,
        quantization: Quantization = "nf4",
        dtype: DType = "bfloat16",
        gradient_checkpointing: CheckpointingMode = "auto",
        kernels: Kernels = "auto",
        group_size: int = 8,
        max_completion_length: int = 256,
        temperature: float = 1.0,
        beta: float = 0.04,
        scale_rewards: Scale = "group",
        mask_truncated: bool = False,
        resample_flat_groups: int = 0,
        inner_epochs: int = 1,
        updates_per_rollout: int = 1,
        learning_rate: float = 2e-6,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.95),
        warmup_steps: int = 10,
        schedule: Schedule = "constant",
        gradient_clip: float = 1.0,
        micro_batch_tokens: int = 16384,
        share_prompts: bool = True,
        probe_tolerance: float = 0.1,
        verify_threads: int = 8,
    ) -> None:
        super().__init__(
            name_or_path=name_or_path,
            adapter=adapter,
            lora=LoRASettings(dropout=0.0),
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
            with_reference=True,
            kernels=kernels,
        )
        for setting, value in (
            ("inner_epochs", inner_epochs),
            ("updates_per_rollout", updates_per_rollout),
            ("verify_threads", verify_threads),
        ):
            require_at_least(setting, value, 1)
        require_at_least("resample_flat_groups", resample_flat_groups, 0)
        if beta <= 0:
            raise ConfigError(f"beta is {beta}; GRPO here always keeps KL on: give a value above 0, such as 0.04")
        if temperature <= 0:
            raise ConfigError(
                f"temperature is {temperature}; a greedy group has nothing to compare: give a value above 0"
            )
        if group_size < 2:
            raise ConfigError(f"group_size is {group_size}; an advantage needs a group of at least 2")
        self.loss = loss or GRPOLoss()
        if self.loss.loss_type == "dr_grpo" and self.loss.max_completion_length != max_completion_length:
            raise ConfigError(
                f"loss.max_completion_length is {self.loss.max_completion_length}, max_completion_length is "
                f"{max_completion_length}; dr_grpo divides by the rollout's limit: give the same"
            )
        self.group_size, self.temperature, self.beta = group_size, temperature, beta
        self.scale_rewards: Scale = scale_rewards
        self.mask_truncated, self.resample_flat_groups = mask_truncated, resample_flat_groups
        self.inner_epochs, self.updates_per_rollout = inner_epochs, updates_per_rollout
        self.probe_tolerance, self.verify_threads = probe_tolerance, verify_threads
        self.share_prompts = share_prompts
        self.brake_factor = 1.0  # the red-line brake's
        self.control_factor = 1.0  # the target-KL controller's
        self.experience: Experience | None = None  # the latest, for callbacks
        self._probed = False
        self._logged: set[str] = set()

    @property
    def effective_beta(self) -> float:
        """The weight that KL has now: configured × brake × controller."""
        return self.beta * self.brake_factor * self.control_factor

    def configure_model(self) -> None:
        if self.adapter is None or not Path(self.adapter).is_dir():
            raise AdapterError(
                f"{self.adapter}: no such adapter folder; GRPO starts from Base-SFT: "
                "train it first with `python -m qwen_lightning fit -c configs/sft.yaml`"
            )
        super().configure_model()
        self.policy.share_rows = self.share_prompts

    @property
    def updates_per_batch(self) -> int:
        return self.inner_epochs * self.updates_per_rollout

    def teardown(self, stage: str) -> None:
        if "collector" in self.__dict__:
            self.collector.verifier.close()
        super().teardown(stage)

    def check_parent(self, manifest: Manifest) -> None:
        super().check_parent(manifest)
        if manifest.is_persona:
            raise AdapterError(
                f"{self.adapter} has the persona in it (tasks {', '.join(manifest.tasks) or 'none'}, before them "
                f"{', '.join(manifest.inherited_tasks) or 'none'}); persona never meets GRPO: start from base-sft"
            )

    @cached_property
    def collector(self) -> Collector:
        """Samples and judges."""
        return Collector(
            policy=self.policy,
            renderer=self.renderer,
            engine=self.rollout,
            verifier=Verifier(self.tasks, self.verify_threads),
            rewards=self.rewards,
            group_size=self.group_size,
            max_new_tokens=self.max_completion_length,
            temperature=self.temperature,
            token_budget=self.micro_batch_tokens,
            scale=self.scale_rewards,
            mask_truncated=self.mask_truncated,
            resample=self.resample_flat_groups,
        )

    def training_step(self, batch: GRPOBatch, batch_idx: int) -> None:
        started, rate = time.perf_counter(), self.current_learning_rate
        experience = self.collector.collect(
            batch.task_records,
            batch.task_prompt_ids,
            batch.general_records,
            batch.general_prompt_ids,
            keep_old=self.updates_per_batch > 1,
            gather=lambda rewards: torch.as_tensor(self.all_gather(rewards.to(self.device))).cpu(),
        )
        if not self._probed:
            self._probe(experience)
        collected = time.perf_counter()
        metrics = StepMetrics()
        for _ in range(self.inner_epochs):
            for members in experience.minibatches(self.updates_per_rollout):
                packs = self._packs(experience, members)
                totals = self.totals_over_ranks(self._rows(pack, experience) for pack in packs)
                outputs, norm = self.step_over(packs, partial(self.loss_of, experience=experience, totals=totals))
                metrics.update(outputs, norm)
        self.experience = experience
        self._log_step(experience, metrics, rate, collected - started, time.perf_counter() - collected)

    def _packs(self, experience: Experience, members: Sequence[int]) -> list[Pack]:
        """The update's packs, as many on every rank: a rank that has fewer tokens divides them over more packs."""
        layout = self.policy.layout
        work = (experience.sequences, members, self.micro_batch_tokens, layout)
        plan = plan_packs(*work)
        count = int(self.reduce(torch.tensor(len(plan)), "max"))
        if count > len(plan):
            plan = plan_packs(*work, at_least=count)
        return lay_out(experience.sequences, plan, self.device, layout)

    def loss_of(self, pack: Pack, experience: Experience, totals: StepTotals) -> LossOutput:
        """One pack's share of the optimizer step's loss."""
        logprobs, entropies = completion_logprobs(self.policy, pack, self.temperature)
        mask, kl_only = self._rows(pack, experience)
        inputs = LossInputs(
            logprobs=logprobs,
            old_logprobs=logprobs.detach() if experience.old_logprobs is None else pack.padded(experience.old_logprobs),
            reference_logprobs=pack.padded(experience.reference_logprobs),
            mask=mask,
            advantages=torch.tensor([experience.advantage(member) for member in pack.members], device=mask.device),
            kl_only=kl_only,
            rollout_logprobs=pack.padded([completion.logprobs for completion in experience.completions]),
            entropies=entropies,
        )
        return self.loss(inputs, totals, self.effective_beta)

    def _rows(self, pack: Pack, experience: Experience) -> tuple[Tensor, Tensor]:
        """The tokens (rows, T) that carry loss, and the rows (rows,) that carry KL alone."""
        kl_only = torch.tensor([experience.kl_only(member) for member in pack.members], device=pack.mask.device)
        if not self.mask_truncated:
            return pack.mask, kl_only
        cut = torch.tensor(
            [experience.completions[member].truncated for member in pack.members], device=pack.mask.device
        )
        return pack.mask & ~(cut & ~kl_only)[:, None], kl_only

    def _probe(self, experience: Experience) -> None:
        """Before the first update: the engine's log-probs are the trainer's, and the policy is the reference.

        Raises:
            ProbeError: They are not.
        """
        sequences = experience.sequences[:_PROBED]
        own = torch.cat(self.collector.logprobs(sequences))
        engine = torch.cat([completion.logprobs for completion in experience.completions[:_PROBED]]).to(own.device)
        # All ranks raise together, or the others would wait for the one that did.
        difference = self.reduce((own - engine).abs().mean(), "max").item()
        if difference > self.probe_tolerance:
            raise ProbeError(
                f"the rollout engine's log-probs differ from the trainer's by {difference:.4f} on average "
                f"(probe_tolerance {self.probe_tolerance}): it does not sample from the policy that is trained"
            )
        if self.global_step == 0:
            with self.policy.reference():  # in the very packs of the policy: a kernel may round by shape
                reference = torch.cat(self.collector.logprobs(sequences))
            drift = self.reduce((own - reference).abs().max(), "max").item()
            if drift > _SAME:
                raise ProbeError(
                    f"policy and reference differ by {drift:.2e} in log-prob before the first step; they must be equal"
                )
        self._probed = True

    def _log_step(
        self, experience: Experience, metrics: StepMetrics, rate: float, collecting: float, updating: float
    ) -> None:
        lengths = [len(completion.ids) for completion in experience.completions]
        for name, values in {
            "reward_std": reward_std(experience.rewards, 1),
            "null_rewards": experience.rewards.isnan().float(),
            "flat_groups": flat_groups(experience.rewards).float(),
            "completion_length": torch.tensor(lengths),
            "truncated": torch.tensor([completion.truncated for completion in experience.completions]),
        }.items():
            metrics.add(name, values.to(self.device))
        losses = metrics.compute()
        checks = VerdictMetrics().to(self.device)
        checks.update(experience.rows())
        verdicts = checks.compute()
        shown: dict[str, Any] = {
            "reward": verdicts.get(f"{experience.task}/reward", torch.nan),
            "kl": losses.pop("kl", torch.nan),
            "beta": self.effective_beta,
            "lr": rate,
            "tokens_per_second": self.trainer.world_size * sum(lengths) / (collecting + updating),
        }
        factors = {"beta_configured": self.beta, "beta_brake": self.brake_factor, "beta_control": self.control_factor}
        seconds = {"collect_seconds": collecting, "update_seconds": updating, **experience.seconds}
        logged: dict[str, Any] = {**losses, **factors, **seconds, **verdicts}
        # Lightning would log a metric that this step has not, such as the KL of general prompts, as it was last.
        self._logged |= logged.keys()
        logged = dict.fromkeys(self._logged, torch.nan) | logged
        self.log_dict({f"train/{name}": value for name, value in logged.items()})
        self.log_dict({f"train/{name}": value for name, value in shown.items()}, prog_bar=True)

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["brake_factor"], checkpoint["control_factor"] = self.brake_factor, self.control_factor

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.brake_factor, self.control_factor = checkpoint["brake_factor"], checkpoint["control_factor"]
