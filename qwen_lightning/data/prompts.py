"""The prompt schedule of GRPO: which task prompts and which general ones each step takes."""

from __future__ import annotations

import math

from qwen_lightning.data.batches import PromptStep
from qwen_lightning.data.mixture import draw
from qwen_lightning.errors import ConfigError

GENERAL_RANGE = (0.01, 0.05)
_EPS = 1e-9


def general_count(task_prompts: int, ratio: float) -> int | None:
    """General prompts beside `task_prompts`, so that their share of all prompts is nearest to `ratio` and in range.

    None where no whole number has a share of 1 to 5 %.
    """
    low, high = GENERAL_RANGE
    exact = ratio * task_prompts / (1 - ratio)
    fitting = [
        count
        for count in (math.floor(exact), math.ceil(exact))
        if low - _EPS <= count / (count + task_prompts) <= high + _EPS
    ]
    return min(fitting, key=lambda count: abs(count / (count + task_prompts) - ratio), default=None)


class PromptSchedule:
    """Plans the prompts of every step.

    An epoch is a whole number of steps with `prompts_per_step` task prompts each; the general prompts come beside
    them, spread evenly, the first in the first step. Both sets are drawn as in `mixture.draw`: small ones repeat.

    Args:
        task_prompts: Number of task prompts at hand.
        general_prompts: Number of general prompts at hand.
        prompts_per_step: Task prompts a step, over all devices.
        general_ratio: Share of the general prompts among all prompts of an epoch, 0.01 to 0.05.
        epoch_size: Task prompts an epoch, rounded up to whole steps. By default as many as there are, and where the
            set is so small that not one general prompt would fit into 5 %, as many steps as it takes.
        seed: Seed of every draw.
        world_size: Number of devices.
        rank: This device.

    Attributes:
        steps: Steps an epoch.
        general: General prompts an epoch, over all devices.

    Raises:
        ConfigError: A ratio or an epoch size that cannot be kept, or steps that the devices cannot share evenly.
    """

    def __init__(
        self,
        task_prompts: int,
        general_prompts: int,
        prompts_per_step: int,
        general_ratio: float = 0.03,
        epoch_size: int | None = None,
        seed: int = 0,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        low, high = GENERAL_RANGE
        if not low <= general_ratio <= high:
            raise ConfigError(f"general_ratio is {general_ratio}; it must lie between {low} and {high}")
        if prompts_per_step < 1 or prompts_per_step % world_size:
            raise ConfigError(
                f"prompts_per_step is {prompts_per_step}; it must be a multiple of the {world_size} devices"
            )
        if epoch_size is not None and epoch_size < 1:
            raise ConfigError(f"epoch_size is {epoch_size}; it must be at least 1")
        self.task_prompts, self.general_prompts = task_prompts, general_prompts
        self.prompts_per_step, self.seed, self.world_size, self.rank = prompts_per_step, seed, world_size, rank
        steps = -(-(epoch_size or task_prompts) // prompts_per_step)
        general = general_count(steps * prompts_per_step, general_ratio)
        while general is None and epoch_size is None:
            steps += 1
            general = general_count(steps * prompts_per_step, general_ratio)
        if general is None:
            raise ConfigError(
                f"an epoch of {steps * prompts_per_step} task prompts cannot have {low:.0%} to {high:.0%} general ones "
                "beside it; raise epoch_size to 19 or more, or leave it out"
            )
        self.steps, self.general = steps, general

    def __call__(self, epoch: int) -> list[PromptStep]:
        """This rank's prompts in every step of an epoch."""
        task = draw(self.task_prompts, self.steps * self.prompts_per_step, epoch, self.seed, "task").tolist()
        general = draw(self.general_prompts, self.general, epoch, self.seed, "general").tolist()
        local = self.prompts_per_step // self.world_size
        plan = []
        for step in range(self.steps):
            first = step * self.prompts_per_step + self.rank * local
            begin, end = (-(-i * self.general // self.steps) for i in (step, step + 1))
            # Dealt in turn over the whole run, so that no device takes them all.
            mine = [general[i] for i in range(begin, end) if (epoch * self.general + i) % self.world_size == self.rank]
            plan.append(PromptStep(task[first : first + local], mine))
        return plan
