"""What SFT and GRPO share: the model's life, the optimizer step over micro-batches, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property
from importlib.metadata import version
from typing import Any, ClassVar, Literal, Protocol, TypeVar, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from qwen_lightning.adapters.manifest import Manifest, Parent
from qwen_lightning.adapters.store import load_adapter
from qwen_lightning.errors import AdapterError, ConfigError
from qwen_lightning.evaluation.evaluator import Evaluator
from qwen_lightning.losses.base import LossOutput, StepTotals
from qwen_lightning.losses.logprobs import HEAD_ROWS
from qwen_lightning.models.backbone import DType, Quantization, load_backbone
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.checkpointing import Checkpointing, CheckpointingMode
from qwen_lightning.models.kernels import Kernels, use_kernels
from qwen_lightning.models.policy import POLICY, LoRASettings, PolicyModel
from qwen_lightning.modules.evaluated import EvaluatedModule
from qwen_lightning.modules.out_of_memory import StepMemory
from qwen_lightning.modules.randomness import random_state, restore_random_state
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.base import RolloutEngine
from qwen_lightning.rollout.grouped.engine import GroupedRollout
from qwen_lightning.tasks.registry import TaskRegistry


class _MicroBatch(Protocol):
    """What one forward and backward pass computes: (rows, length) ids, padding included."""

    @property
    def input_ids(self) -> Tensor: ...


T = TypeVar("T", bound=_MicroBatch)
Schedule = Literal["constant", "linear", "cosine"]
_PRECISIONS = ("32-true", "bf16-mixed")


def require_at_least(setting: str, value: float, least: float) -> None:
    """Refuse a setting below its least value.

    Raises:
        ConfigError: It is below.
    """
    if not value >= least:
        raise ConfigError(f"{setting} is {value}; it must be at least {least}")


class AdapterModule(EvaluatedModule):
    """A policy adapter in training. Weights are built in `configure_model`, so that a config costs no memory.

    Optimization is manual: a batch is one optimizer step (or several), cut into micro-batches of `micro_batch_tokens`.
    """

    stage: ClassVar[str]
    policy: PolicyModel  # from `configure_model` on
    checkpointing: Checkpointing
    layers_from: str  # whose kernels the backbone's layers run

    def __init__(
        self,
        name_or_path: str,
        adapter: str | None,
        lora: LoRASettings | None,
        tasks: TaskRegistry | None,
        rewards: RewardTable | None,
        rollout: RolloutEngine | None,
        revision: str | None,
        quantization: Quantization,
        dtype: DType,
        gradient_checkpointing: CheckpointingMode,
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
        warmup_steps: int,
        schedule: Schedule,
        gradient_clip: float,
        micro_batch_tokens: int,
        max_completion_length: int,
        with_reference: bool,
        kernels: Kernels,
    ) -> None:
        super().__init__()
        for setting, value, least in (
            ("micro_batch_tokens", micro_batch_tokens, 1),
            ("max_completion_length", max_completion_length, 1),
            ("warmup_steps", warmup_steps, 0),
            ("learning_rate", learning_rate, 0),
            ("gradient_clip", gradient_clip, 0),
        ):
            require_at_least(setting, value, least)
        self.automatic_optimization = False
        self.strict_loading = False  # only the policy is in the checkpoint; its keys are compared on load
        self.name_or_path, self.revision, self.quantization, self.dtype_name = (
            name_or_path,
            revision,
            quantization,
            dtype,
        )
        self.adapter, self.lora = adapter, lora or LoRASettings()
        self.tasks, self.rewards = tasks or TaskRegistry(), rewards or RewardTable()
        self.rewards.check(self.tasks)
        self.rollout = rollout or GroupedRollout()
        self.gradient_checkpointing, self.with_reference = gradient_checkpointing, with_reference
        self.kernels: Kernels = kernels
        self.learning_rate, self.weight_decay, self.betas = learning_rate, weight_decay, betas
        self.warmup_steps, self.schedule, self.gradient_clip = warmup_steps, schedule, gradient_clip
        self.micro_batch_tokens, self.max_completion_length = micro_batch_tokens, max_completion_length
        self.parent: Parent | None = None
        self.inherited_tasks: list[str] = []
        self.lr_factor = 1.0
        self._random_states: list[dict[str, Any]] | None = None
        self._training_began = False

    # ------------------------------------------------------------------ life

    @cached_property
    def renderer(self) -> ChatRenderer:
        """The backbone's tokenizer and chat template."""
        return ChatRenderer.from_pretrained(self.name_or_path, self.revision)

    def configure_model(self) -> None:
        if hasattr(self, "policy"):
            return
        start = None
        if self.adapter is not None:
            start, shape, manifest = load_adapter(self.adapter)
            self.check_parent(manifest)
            self.parent = Parent(name=manifest.name, sha256=manifest.sha256)
            self.inherited_tasks = sorted({*manifest.tasks, *manifest.inherited_tasks})
            self.lora = LoRASettings(shape.r, shape.alpha, self.lora.dropout, shape.target_modules)
        backbone = load_backbone(
            self.name_or_path, self.quantization, self.dtype_name, self._root_device, self.revision
        )
        liger = use_kernels(backbone, self.kernels)
        self.layers_from = f"liger-kernel {version('liger-kernel')}" if liger else "transformers"
        # Lightning keeps the mode that it finds: without this, dropout and checkpointing would be off.
        self.policy = PolicyModel(backbone, self.lora, start, self.with_reference).train()
        self.checkpointing = Checkpointing(
            self.policy.backbone, self.gradient_checkpointing, self.micro_batch_tokens, HEAD_ROWS
        )

    @property
    def _root_device(self) -> torch.device:
        """Where the trainer will put the module; `self.device` still says CPU while weights are built."""
        return self._trainer.strategy.root_device if self._trainer is not None else self.device

    def check_parent(self, manifest: Manifest) -> None:
        """Refuse an adapter that this stage must not start from.

        Raises:
            AdapterError: It was trained on another base.
        """
        if (manifest.base_model, manifest.quantization) != (self.name_or_path, self.quantization):
            raise AdapterError(
                f"{self.adapter} was trained on {manifest.base_model} ({manifest.quantization}), the config has "
                f"{self.name_or_path} ({self.quantization}); give the same base (where it only moved, say so in the "
                "adapter's manifest.json)"
            )

    @cached_property
    def evaluator(self) -> Evaluator:
        return Evaluator(
            self.policy,
            self.renderer,
            self.tasks,
            self.rewards,
            self.rollout,
            self.max_completion_length,
            self.micro_batch_tokens,
        )

    def setup(self, stage: str) -> None:
        if self.trainer.precision not in _PRECISIONS:
            raise ConfigError(
                f"trainer.precision is {self.trainer.precision}; use {' or '.join(_PRECISIONS)}: adapters are trained "
                "in fp32, whatever the backbone's dtype"
            )

    def on_train_start(self) -> None:
        self._training_began = True
        if self._random_states is not None:
            restore_random_state(self._random_states, self.global_rank)
            self._random_states = None

    def on_fit_end(self) -> None:
        """A run that was killed after its last step still owes its end; the trainer skips what has no step left."""
        if self._training_began or not self.global_step:
            return
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        self.to(self.trainer.strategy.root_device)  # the trainer has torn down already
        for callback in callbacks:
            callback.on_train_start(self.trainer, self)
        for callback in callbacks:
            callback.on_train_end(self.trainer, self)

    def teardown(self, stage: str) -> None:
        if "evaluator" in self.__dict__:
            self.evaluator.close()
        self.rollout.close()
        self.tasks.close()

    # ------------------------------------------------------------------ optimization

    def configure_optimizers(self) -> Any:
        optimizer = AdamW(
            self.policy.trainable(), lr=self.learning_rate, betas=self.betas, weight_decay=self.weight_decay
        )
        return {"optimizer": optimizer, "lr_scheduler": LambdaLR(optimizer, self._lr_multiplier)}

    @property
    def scheduler(self) -> LambdaLR:
        """The learning rate's schedule."""
        return cast(LambdaLR, self.lr_schedulers())

    @property
    def current_learning_rate(self) -> float:
        """What the next optimizer step uses."""
        return float(self.scheduler.optimizer.param_groups[0]["lr"])

    def scale_learning_rate(self, factor: float) -> None:
        """Multiply the learning rate for good, warm-up and decay included."""
        self.lr_factor *= factor
        scheduler = self.scheduler
        # Writing the optimizer's lr would be undone at the scheduler's next step.
        scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]
        for group in scheduler.optimizer.param_groups:
            group["lr"] *= factor

    def step_over(
        self, micro_batches: Sequence[T], loss_of: Callable[[T], LossOutput]
    ) -> tuple[list[LossOutput], Tensor]:
        """One optimizer step: backward over all micro-batches, clip, step, schedule.

        `loss_of` returns a micro-batch's share, so that the sum over micro-batches and the mean over ranks
        is the loss of the whole step. Ranks with fewer micro-batches run empty ones: unequal numbers hang DDP.

        Returns:
            The outputs, detached, and the gradient's norm before clipping.
        """
        optimizer = cast(LightningOptimizer, self.optimizers())
        largest = max(micro_batches, key=lambda pack: pack.input_ids.numel())
        memory = StepMemory(self.checkpointing, self.rollout, largest.input_ids.numel())
        plan = memory.prepare(lambda: loss_of(largest))
        if plan:
            self.print(plan)
        # Several ranks cannot begin a step again: the others would wait in the middle of it.
        again = not isinstance(self.trainer.model, DistributedDataParallel)
        outputs = memory.within(lambda: self._accumulate(micro_batches, loss_of), again)
        norm = clip_grad_norm_(self.policy.trainable(), self.gradient_clip if self.gradient_clip > 0 else float("inf"))
        if not torch.isfinite(norm):
            # A step is still counted, but one bad batch must not turn the adapter into NaN.
            rank_zero_warn(
                f"step {self.global_step}: the gradient is not finite ({norm.item()}); weights stay as they are"
            )
            optimizer.zero_grad()
        optimizer.step()
        torch.clear_autocast_cache()  # it would hand the next update the adapter as it was
        self.scheduler.step()
        return outputs, norm

    def _accumulate(self, micro_batches: Sequence[T], loss_of: Callable[[T], LossOutput]) -> list[LossOutput]:
        cast(LightningOptimizer, self.optimizers()).zero_grad()
        outputs: list[LossOutput] = []
        total = int(self.reduce(torch.tensor(len(micro_batches)), "max"))
        for index in range(total):
            with nullcontext() if index == total - 1 else self._no_sync():
                if index < len(micro_batches):
                    output = loss_of(micro_batches[index])
                    self.manual_backward(output.loss)
                    outputs.append(LossOutput(output.loss.detach(), output.metrics))
                else:
                    self.manual_backward(loss_of(micro_batches[-1]).loss * 0.0)
        return outputs

    def totals_over_ranks(self, micro_batches: Iterable[tuple[Tensor, Tensor]]) -> StepTotals:
        """What the loss is divided by, over all micro-batches of all ranks."""
        own = StepTotals.count(micro_batches)
        return own.over_ranks(self.reduce(own.as_tensor()), self.trainer.world_size)

    def reduce(self, tensor: Tensor, operation: Literal["sum", "max"] = "sum") -> Tensor:
        """Reduce over all ranks."""
        return self.trainer.strategy.reduce(tensor.to(self.device), reduce_op=operation)

    def _no_sync(self) -> Any:
        model = self.trainer.model
        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()

    def _lr_multiplier(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.schedule == "constant":
            return 1.0
        if self.planned_steps == float("inf"):
            raise ConfigError(f"schedule {self.schedule} needs an end: set trainer.max_steps or trainer.max_epochs")
        total = max(self.planned_steps, self.warmup_steps + 1)
        left = max(0.0, (total - step) / (total - self.warmup_steps))
        return left if self.schedule == "linear" else 0.5 * (1 + torch.cos(torch.tensor(torch.pi * (1 - left))).item())

    @property
    def updates_per_batch(self) -> int:
        """Optimizer steps a batch."""
        return 1

    @property
    def planned_steps(self) -> float:
        """Optimizer steps of the whole run; infinite where it has no planned end."""
        planned = self.trainer.estimated_stepping_batches
        return planned if self.trainer.max_steps >= 0 else planned * self.updates_per_batch

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = self._policy_part(checkpoint["state_dict"])
        checkpoint["parent"] = None if self.parent is None else self.parent.model_dump()
        checkpoint["base"] = self._base()
        checkpoint["lr_factor"] = self.lr_factor
        checkpoint["random_states"] = random_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint["base"] != self._base():
            raise AdapterError(f"the checkpoint's base and adapter shape are {checkpoint['base']}, not {self._base()}")
        own = self._policy_part(self.state_dict())
        if own.keys() != checkpoint["state_dict"].keys():
            raise AdapterError(
                "the checkpoint's adapter has other layers than this config's; resume with the config that wrote it"
            )
        parent = None if self.parent is None else self.parent.model_dump()
        if checkpoint["parent"] != parent:
            raise AdapterError(
                f"the checkpoint was trained from {checkpoint['parent']}, but {self.adapter!r} is {parent}; "
                "give the adapter that the run started from"
            )
        self.lr_factor = checkpoint["lr_factor"]
        self._random_states = checkpoint["random_states"]

    def _base(self) -> dict[str, Any]:
        """What a checkpoint's weights mean nothing without."""
        return {
            "name_or_path": self.name_or_path,
            "revision": self.revision,
            "quantization": self.quantization,
            "r": self.lora.r,
            "alpha": self.lora.alpha,
        }

    @staticmethod
    def _policy_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in state.items() if ".lora_" in name and f".{POLICY}." in name}
