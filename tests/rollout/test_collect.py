"""Rewards, masks and resampling of one rollout."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest
import torch

from qwen_lightning.errors import ExecutionError
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.records import SQLRecord
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.collect import Collector
from qwen_lightning.rollout.experience import Experience
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.tasks.registry import TaskRegistry
from qwen_lightning.tasks.text2sql import Text2SQL
from qwen_lightning.tasks.verification import Verifier
from qwen_lightning.verdict import Verdict
from tools.demo.tiny import TinyDemo

Judge = Callable[[str], Verdict]


class Judged(Text2SQL):
    """Verdicts by a function of the text."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge, self.calls = judge, 0

    def verify(self, record: SQLRecord, completion: str) -> Verdict:
        self.calls += 1
        return self.judge(completion)


def verdict(executes: float) -> Verdict:
    return Verdict({"executes": executes, "match": 0.0, "references": 1.0})


def collect(demo: TinyDemo, policy: PolicyModel, renderer: ChatRenderer, task: Judged, **options) -> Experience:
    torch.manual_seed(0)
    tasks = TaskRegistry(custom=[task])
    settings = {"scale": "group", "mask_truncated": False, "resample": 0} | options
    collector = Collector(
        policy, renderer, GenerateRollout(), Verifier(tasks), RewardTable(), group_size=4, max_new_tokens=6,
        temperature=1.0, token_budget=4096, **settings,
    )  # fmt: skip
    records = [item.record for item in tasks.reader.read(demo.file("grpo_sql"))[:3]]
    general = [item.record for item in tasks.reader.read(demo.file("general_sft"))[:1]]
    ids = [[renderer.prompt_ids(tasks[r.task].prompt(r)) for r in rows] for rows in (records, general)]
    return collector.collect(records, ids[0], general, ids[1], keep_old=True, gather=lambda rewards: rewards)


def test_general_rows_carry_no_reward(demo: TinyDemo, policy: PolicyModel, renderer: ChatRenderer) -> None:
    experience = collect(demo, policy, renderer, Judged(lambda text: verdict(len(text) % 2)))
    assert experience.rewards.shape == (3, 4)
    assert len(experience.sequences) == 13
    assert [experience.kl_only(member) for member in range(13)] == [False] * 12 + [True]
    assert experience.advantage(12) == 0.0
    assert len(experience.verdicts) == 12
    expected = [1.0 * (len(text) % 2) for text in experience.texts[:12]]
    assert experience.rewards.flatten().tolist() == expected
    assert [row.reward for row in experience.rows()] == expected
    for old, reference in zip(experience.old_logprobs or [], experience.reference_logprobs, strict=True):
        assert torch.equal(old, reference)  # policy and reference start as one


def test_a_gap_is_in_no_statistic(demo: TinyDemo, policy: PolicyModel, renderer: ChatRenderer) -> None:
    gap = Verdict({"references": 1.0}, gaps=frozenset({"executes", "match"}))
    experience = collect(
        demo, policy, renderer, Judged(lambda text: gap if len(text) % 3 == 0 else verdict(len(text) % 2))
    )
    missing = experience.rewards.isnan()
    assert bool(missing.any())
    assert not bool(missing.all())
    assert bool((experience.advantages[missing] == 0).all())
    assert all(
        (row.reward is None) == bool(gone) for row, gone in zip(experience.rows(), missing.flatten(), strict=True)
    )


def test_truncated_completions_leave_the_statistics(
    demo: TinyDemo, policy: PolicyModel, renderer: ChatRenderer
) -> None:
    task = Judged(lambda text: verdict(len(text) % 2))
    kept = collect(demo, policy, renderer, task)
    masked = collect(demo, policy, renderer, task, mask_truncated=True)
    cut = torch.tensor([completion.truncated for completion in kept.completions[:12]]).view(3, 4)
    assert bool(cut.any())
    assert not bool(kept.rewards.isnan().any())
    assert torch.equal(masked.rewards.isnan(), cut)


def test_flat_groups_are_sampled_anew_within_the_bound(
    demo: TinyDemo, policy: PolicyModel, renderer: ChatRenderer
) -> None:
    flat = Judged(lambda text: verdict(0.0))
    collect(demo, policy, renderer, flat, resample=2)
    assert flat.calls == 12 * 3
    varied = Judged(lambda text: verdict(zlib.crc32(text.encode()) % 1000 / 1000))
    collect(demo, policy, renderer, varied, resample=2)
    assert varied.calls == 12


def test_a_broken_verifier_is_no_reward_of_zero(demo: TinyDemo, policy: PolicyModel, renderer: ChatRenderer) -> None:
    def broken(text: str) -> Verdict:
        raise ExecutionError("the server is gone")

    with pytest.raises(ExecutionError, match="the server is gone"):
        collect(demo, policy, renderer, Judged(broken))
