"""Group-relative advantages."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Scale = Literal["group", "batch", "none"]

EPSILON = 1e-4


def group_advantages(rewards: Tensor, scale: Scale = "group", batch_std: Tensor | float | None = None) -> Tensor:
    """Advantages `(r - mean of the group) / (std + 1e-4)`, std with ddof 1 (DeepSeekMath, arXiv:2402.03300).

    A completion without a reward is in no statistic and has advantage 0. A flat group (see `flat_groups`) has
    exactly 0, which rounding of its mean would not give.

    Args:
        rewards: (groups, group size), nan for a completion without a reward or masked for truncation.
        scale: `group` divides by the group's std, `batch` by that of all rewards, `none` not at all.
        batch_std: For `batch`: the std of the rewards of all ranks, by `reward_std`; of `rewards` alone unless given.

    Returns:
        (groups, group size), of the dtype of `rewards`.

    Raises:
        ValueError: The shape is not (groups, group size), the scale is unknown, or a reward is infinite.
    """
    if scale not in ("group", "batch", "none"):
        raise ValueError(f"scale {scale!r} is unknown; use group, batch or none")
    flat = flat_groups(rewards)
    if rewards.isinf().any():
        raise ValueError("a reward is infinite")
    advantages = rewards - rewards.nanmean(1, keepdim=True)
    if scale == "group":
        advantages = advantages / (reward_std(rewards, 1) + EPSILON)[:, None]
    elif scale == "batch":
        advantages = advantages / ((reward_std(rewards) if batch_std is None else batch_std) + EPSILON)
    return advantages.masked_fill(rewards.isnan() | flat[:, None], 0.0)


def reward_std(rewards: Tensor, dim: int | None = None) -> Tensor:
    """Standard deviation with ddof 1 of the rewards that are there, 0 where there are fewer than two.

    Args:
        rewards: Any shape, nan where there is none.
        dim: Dimension to reduce; all unless given.
    """
    present = ~rewards.isnan()
    count = present.sum() if dim is None else present.sum(dim)
    mean = rewards.nanmean() if dim is None else rewards.nanmean(dim, keepdim=True)
    squares = (rewards - mean).square().nansum() if dim is None else (rewards - mean).square().nansum(dim)
    return (squares / (count - 1).clamp(min=1)).sqrt()


def flat_groups(rewards: Tensor) -> Tensor:
    """(groups,) bool: groups that teach nothing, all rewards equal or fewer than two there.

    Args:
        rewards: (groups, group size), nan where there is none.

    Raises:
        ValueError: The shape is not (groups, group size).
    """
    if rewards.dim() != 2:
        raise ValueError(f"rewards are {tuple(rewards.shape)}, expected (groups, group size)")
    if rewards.shape[1] == 0:
        return torch.ones(rewards.shape[0], dtype=torch.bool, device=rewards.device)
    present = ~rewards.isnan()
    spread = rewards.where(present, -torch.inf).amax(1) - rewards.where(present, torch.inf).amin(1)
    return (present.sum(1) < 2) | (spread <= 1e-8)


def flat_fraction(rewards: Tensor) -> Tensor:
    """Share of the groups that are flat, (); 0 where there are no groups."""
    flat = flat_groups(rewards)
    return flat.to(rewards.dtype).mean() if flat.numel() else rewards.new_zeros(())
