"""The project's own modules, driven through real training steps on given batches, with a clock at each part."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property, wraps
from typing import Any, TypeVar

import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from qwen_lightning.losses.logprobs import HEAD_ROWS
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.checkpointing import Checkpointing, recompute_layers
from qwen_lightning.models.policy import POLICY, REFERENCE, PolicyModel
from qwen_lightning.modules.base import AdapterModule
from qwen_lightning.modules.grpo import GRPOModule
from qwen_lightning.modules.sft import SFTModule
from qwen_lightning.rollout.collect import Collector
from qwen_lightning.rollout.experience import Experience
from tools.bench.timing import Lap, Timing, lap, peak_memory

T = TypeVar("T")


class Given(AdapterModule):
    """A module around a policy that is there already, which notes how long its steps and their parts take.

    Args:
        policy: The model; it stays where it is after the fit.
        renderer: Of its vocabulary.
        shared: Whether a row may hold several sequences: groups with their prompt once, or packed examples.
        settings: The module's own.

    Attributes:
        warmup: Steps that do not count.
        parts: Name to what it took, a step.
        timing: Of the steps that count.
    """

    def __init__(self, policy: PolicyModel, renderer: ChatRenderer, shared: bool, **settings: Any) -> None:
        super().__init__(**settings)
        self.policy, self.renderer = policy, renderer
        self.shared, self.warmup = shared, 0
        self.parts: list[dict[str, Lap]] = []
        self.timing = Timing()

    def configure_model(self) -> None:
        backbone = self.policy.backbone
        recompute_layers(backbone, 0)  # whatever the case before needed
        self.checkpointing = Checkpointing(backbone, self.gradient_checkpointing, self.micro_batch_tokens, HEAD_ROWS)
        self.policy.share_rows = self.shared
        self.policy.train()

    def cpu(self) -> Given:
        # The trainer's teardown would move gigabytes that the next case needs where they are.
        return self

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.parts.append({})
        if batch_idx < self.warmup:
            super().training_step(batch, batch_idx)
            return
        with peak_memory(self.device, self.timing), lap(self.device, self.timing.laps):
            super().training_step(batch, batch_idx)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # it holds no tensors

    def timed(self, part: str, work: Callable[..., T]) -> Callable[..., T]:
        """The same call; what it takes counts as a part of the step."""

        @wraps(work)
        def call(*args: Any, **kwargs: Any) -> T:
            laps: list[Lap] = []
            with lap(self.device, laps):
                result = work(*args, **kwargs)
            self.parts[-1][part] = self.parts[-1].get(part, Lap()) + laps[0]
            return result

        return call

    def counted(self, part: str) -> list[Lap]:
        """A part of each step that counts."""
        return [step.get(part, Lap()) for step in self.parts[self.warmup :]]


class GivenSFT(Given, SFTModule):
    """SFT on a policy that is there already."""


class GivenGRPO(Given, GRPOModule):
    """GRPO on a policy that is there already, from its reference on.

    Its parts are `collect`, all before the update, and `sample` within it.

    Attributes:
        experiences: A step's, of all steps.
    """

    def __init__(self, policy: PolicyModel, renderer: ChatRenderer, shared: bool, **settings: Any) -> None:
        super().__init__(policy, renderer, shared, **settings)
        self.experiences: list[Experience] = []

    def configure_model(self) -> None:
        super().configure_model()
        # The case before has trained it.
        self.policy.load_adapter(self.policy.adapter_state(REFERENCE), POLICY)

    @cached_property
    def collector(self) -> Collector:
        """Samples and judges."""
        collector = GRPOModule.collector.func(self)  # type: ignore[attr-defined]
        collector.collect = self.timed("collect", collector.collect)
        collector.engine.sample = self.timed("sample", collector.engine.sample)
        return collector

    def training_step(self, batch: Any, batch_idx: int) -> None:
        super().training_step(batch, batch_idx)
        assert self.experience is not None
        self.experiences.append(self.experience)

    @property
    def updates(self) -> list[Lap]:
        """The update of each step that counts."""
        return [step - collect for step, collect in zip(self.timing.laps, self.counted("collect"), strict=True)]


def run_steps(module: Given, batches: Sequence[Any], warmup: int, device: torch.device) -> Timing:
    """One training step a batch, through a plain Trainer; the first `warmup` do not count."""
    module.warmup = warmup
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1 if device.index is None else [device.index],
            precision="32-true",
            max_steps=len(batches),
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loader: DataLoader[Any] = DataLoader(list(batches), batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]
        trainer.fit(module, train_dataloaders=loader)
    return module.timing
