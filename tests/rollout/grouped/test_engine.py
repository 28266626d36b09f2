"""Grouped decoding is `generate`, with the prompt computed once."""

from __future__ import annotations

import pytest
import torch

from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.rollout.grouped.engine import GroupedRollout
from qwen_lightning.rollout.packs import TokenSequence, sequence_logprobs

Prompts = list[list[int]]


@pytest.mark.parametrize("batch_size", [64, 3])
def test_greedy_is_generates_token_for_token(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tokens that this model says often end a turn here, so that sequences end at unlike steps.
    often = [group[0].ids for group in GenerateRollout().generate(policy, renderer, prompts, 1, 30, 0.0)]
    monkeypatch.setattr(renderer, "eos_ids", sorted({ids[len(ids) // 2] for ids in often[::2]}))
    expected = GenerateRollout().generate(policy, renderer, prompts, 1, 30, 0.0)
    found = GroupedRollout(batch_size=batch_size).generate(policy, renderer, prompts, 1, 30, 0.0)
    assert len({len(group[0].ids) for group in expected}) > 3
    for one, other in zip(found, expected, strict=True):
        assert one[0].ids == other[0].ids
        assert one[0].truncated == other[0].truncated
        torch.testing.assert_close(one[0].logprobs, other[0].logprobs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logprobs_are_the_trainers(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderer, "eos_ids", list(range(60)))
    torch.manual_seed(1)
    groups = GroupedRollout(batch_size=40).generate(policy, renderer, prompts, 8, 40, temperature)
    completions = [completion for group in groups for completion in group]
    sequences = [TokenSequence(p, c.ids) for p, group in zip(prompts, groups, strict=True) for c in group]
    for own, completion in zip(sequence_logprobs(policy, sequences, 4096, temperature), completions, strict=True):
        torch.testing.assert_close(completion.logprobs, own, rtol=0, atol=1e-4)
        assert all(token not in renderer.eos_ids for token in completion.ids[:-1])
        assert (completion.ids[-1] in renderer.eos_ids) != completion.truncated
        assert len(completion.ids) == 40 or not completion.truncated
    assert len({len(completion.ids) for completion in completions}) > 10
    assert len({tuple(completion.ids) for completion in completions}) > len(prompts)
