"""General prompts keep to their share, evenly, on however many devices."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from qwen_lightning.data.prompts import PromptSchedule, general_count
from qwen_lightning.errors import ConfigError


@pytest.mark.parametrize("prompts_per_step", [1, 4, 16, 64])
@pytest.mark.parametrize("task_prompts", [1, 18, 19, 100, 1003])
@pytest.mark.parametrize("ratio", [0.01, 0.03, 0.05])
def test_the_share_of_general_prompts_is_in_range_in_every_epoch(
    ratio: float, task_prompts: int, prompts_per_step: int
) -> None:
    schedule = PromptSchedule(task_prompts, 5, prompts_per_step, ratio)
    for epoch in range(2):
        plan = schedule(epoch)
        task, general = sum(len(step.task) for step in plan), sum(len(step.general) for step in plan)
        assert task % prompts_per_step == 0
        assert 0.01 <= general / (task + general) <= 0.05 + 1e-9
        assert all(len(step.task) == prompts_per_step for step in plan)


def test_a_long_epoch_has_the_ratio_to_the_prompt() -> None:
    schedule = PromptSchedule(9700, 40, 10, 0.03)
    assert (schedule.steps, schedule.general) == (970, 300)


def test_general_prompts_are_spread_evenly_from_the_first_step_on() -> None:
    plan = PromptSchedule(1600, 100, 16, 0.03)(0)
    at = [i for i, step in enumerate(plan) for _ in step.general]
    assert at[0] == 0
    gaps = [b - a for a, b in pairwise(at)]
    assert max(gaps) - min(gaps) <= 1


def test_prompts_repeat_evenly_and_the_seed_decides() -> None:
    schedule = PromptSchedule(20, 3, 16, 0.05, seed=1)
    task = Counter(i for step in schedule(0) for i in step.task)
    assert sum(task.values()) == 32
    assert {task[i] for i in range(20)} == {1, 2}
    general = Counter(i for epoch in range(6) for step in schedule(epoch) for i in step.general)
    assert len(set(general.values())) == 1
    assert schedule(1) == PromptSchedule(20, 3, 16, 0.05, seed=1)(1)
    assert schedule(1) != schedule(0)
    assert schedule(0) != PromptSchedule(20, 3, 16, 0.05, seed=2)(0)


def test_devices_together_take_what_one_device_takes() -> None:
    settings = {"task_prompts": 100, "general_prompts": 9, "prompts_per_step": 8, "general_ratio": 0.04}
    alone = PromptSchedule(**settings)
    ranks = [PromptSchedule(**settings, world_size=4, rank=rank) for rank in range(4)]
    dealt: Counter[int] = Counter()
    for epoch in range(4):
        for whole, *parts in zip(alone(epoch), *(rank(epoch) for rank in ranks), strict=True):
            assert [i for part in parts for i in part.task] == whole.task
            assert all(len(part.task) == 2 for part in parts)
            assert sorted(i for part in parts for i in part.general) == sorted(whole.general)
            dealt.update(rank for rank, part in enumerate(parts) for _ in part.general)
    assert max(dealt.values()) - min(dealt.values()) <= 1


def test_an_epoch_grows_until_one_general_prompt_fits() -> None:
    assert general_count(16, 0.03) is None
    schedule = PromptSchedule(10, 2, 8, 0.03)
    assert (schedule.steps, schedule.general) == (3, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general_ratio": 0.0}, "general_ratio is 0.0"),
        ({"general_ratio": 0.06}, "general_ratio is 0.06; it must lie between 0.01 and 0.05"),
        ({"epoch_size": 16}, "an epoch of 16 task prompts cannot have 1% to 5% general ones"),
        ({"epoch_size": 0}, "epoch_size is 0"),
        ({"world_size": 3}, "prompts_per_step is 16; it must be a multiple of the 3 devices"),
        ({"prompts_per_step": 0}, "prompts_per_step is 0"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PromptSchedule(**{"task_prompts": 100, "general_prompts": 5, "prompts_per_step": 16, **changes})
