"""StepMemory: an optimizer step that runs out of GPU memory makes room and goes on."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from lightning.pytorch.utilities import rank_zero_warn

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.checkpointing import Checkpointing
from qwen_lightning.modules.randomness import own_random_state, restore_own_random_state
from qwen_lightning.rollout.base import RolloutEngine

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class StepMemory:
    """The GPU memory of one optimizer step.

    Args:
        checkpointing: Whose layers can be recomputed.
        rollout: Whose buffers can be given back.
        tokens: Of the step's largest pack, padding included.
    """

    checkpointing: Checkpointing
    rollout: RolloutEngine
    tokens: int

    def prepare(self, forward: Callable[[], Any]) -> str | None:
        """Plan which layers are recomputed, and have the engine make room where something else took it since.

        Args:
            forward: The largest pack's pass, to be measured the first time.

        Returns:
            What was planned, in a line; None where nothing was.

        Raises:
            ConfigError: Memory is too short for that pass.
        """
        plan = self.within(lambda: self.checkpointing.prepare(self.tokens, forward))
        if self.checkpointing.is_short():
            self.rollout.release()
        return plan

    def within(self, work: Callable[[], R], again: bool = True) -> R:
        """Do a part of the step; where memory was too short, from its beginning again with more of it.

        First the rollout engine gives its buffers back, then, with `auto`, all layers are recomputed. Dropout draws
        as it did the first time.

        Args:
            work: What is done.
            again: Whether it may be done again.

        Raises:
            ConfigError: Memory is too short even so.
        """
        state, remedies = own_random_state(), self._more() if again else iter(())
        while True:
            try:
                return work()
            except torch.OutOfMemoryError as error:
                remedy = next(remedies, None)
                if remedy is None:
                    raise ConfigError(
                        f"out of GPU memory in a pack of {self.tokens} tokens, {self.checkpointing.recomputed} layers "
                        f"recomputed; lower model.micro_batch_tokens ({self.checkpointing.pack_tokens}) and "
                        "data.max_seq_len, or set model.gradient_checkpointing to true"
                    ) from error
            # Not in the handler: until its end, the error's traceback holds the activations.
            gc.collect()
            torch.cuda.empty_cache()
            restore_own_random_state(state)
            rank_zero_warn(f"out of GPU memory: {remedy}; the step begins again")

    def _more(self) -> Iterator[str]:
        """Make room in one way after the other, each when it is asked for."""
        self.rollout.release()
        yield "the rollout engine gave its buffers back"
        if self.checkpointing.mode == "auto" and self.checkpointing.recompute_all():
            yield "from now on all layers are recomputed"
