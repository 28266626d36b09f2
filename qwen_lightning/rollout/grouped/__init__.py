"""Grouped rollout: a prompt's keys and values are computed and held once for all of its completions."""

from qwen_lightning.rollout.grouped.engine import GroupedRollout

__all__ = ["GroupedRollout"]
