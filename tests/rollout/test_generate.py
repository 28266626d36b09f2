"""The engine samples from the policy that is trained, and says with which log-probs."""

from __future__ import annotations

import pytest
import torch

from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.rollout.packs import TokenSequence, build_packs, completion_logprobs

Prompts = list[list[int]]


def trainer_logprobs(policy: PolicyModel, sequences: list[TokenSequence], temperature: float) -> list[torch.Tensor]:
    """One sequence at a time, unpadded."""
    found = []
    with policy.evaluating():
        for sequence in sequences:
            (pack,) = build_packs([sequence], [0], 10**6, policy.device)
            found.append(completion_logprobs(policy, pack, temperature)[0][0])
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logprobs_are_the_trainers(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, temperature: float
) -> None:
    torch.manual_seed(1)
    groups = GenerateRollout(batch_size=8).generate(policy, renderer, prompts, 3, 9, temperature)
    assert [len(group) for group in groups] == [3] * len(prompts)
    sequences = [TokenSequence(p, c.ids) for p, group in zip(prompts, groups, strict=True) for c in group]
    completions = [c for group in groups for c in group]
    for own, completion in zip(trainer_logprobs(policy, sequences, temperature), completions, strict=True):
        torch.testing.assert_close(completion.logprobs, own, rtol=0, atol=1e-4)
    assert len({tuple(c.ids) for c in completions}) > len(prompts)  # sampled, not repeated


def test_greedy_takes_the_likeliest_token(policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts) -> None:
    groups = GenerateRollout().generate(policy, renderer, prompts, 1, 6, temperature=0.0)
    for prompt, (completion,) in zip(prompts, groups, strict=True):
        ids = list(prompt)
        for token in completion.ids:
            with policy.evaluating():
                logits = policy.backbone(input_ids=torch.tensor([ids])).logits[0, -1]
            assert token == int(logits.argmax())
            ids.append(token)


def test_order_and_batching_do_not_matter_to_greedy(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    whole = GenerateRollout(batch_size=64).generate(policy, renderer, prompts, 1, 6, temperature=0.0)
    single = GenerateRollout(batch_size=1).generate(policy, renderer, prompts[::-1], 1, 6, temperature=0.0)
    assert [group[0].ids for group in whole] == [group[0].ids for group in single[::-1]]


def test_a_batch_keeps_to_its_tokens() -> None:
    prompts = [[0] * length for length in (5, 5, 6, 30, 2)]
    order = sorted(range(5), key=lambda index: len(prompts[index]))
    chunks = list(GenerateRollout(batch_size=8, batch_tokens=60)._chunks(order, prompts, 2, 10))
    assert chunks == [[4, 0], [1], [2], [3]]  # 4 rows of 15 fill it; one prompt's samples are never split
    assert list(GenerateRollout(batch_size=4)._chunks(order, prompts, 2, 10)) == [[4, 0], [1, 2], [3]]


def test_a_completion_ends_with_its_end_of_turn_or_is_truncated(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    torch.manual_seed(2)
    groups = GenerateRollout().generate(policy, renderer, prompts, 24, 40, temperature=3.0)
    completions = [completion for group in groups for completion in group]
    ended = [completion for completion in completions if not completion.truncated]
    assert ended
    assert len(ended) < len(completions)
    for completion in completions:
        assert len(completion.ids) == len(completion.logprobs)
        assert all(token not in renderer.eos_ids for token in completion.ids[:-1])
        assert (completion.ids[-1] in renderer.eos_ids) != completion.truncated
        assert completion.truncated == (len(completion.ids) == 40 and completion.ids[-1] not in renderer.eos_ids)


def test_the_checkpoints_own_sampling_settings_are_ignored(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    engine = GenerateRollout()
    torch.manual_seed(3)
    plain = engine.generate(policy, renderer, prompts[:1], 8, 6)
    policy.backbone.generation_config.top_k = 1
    policy.backbone.generation_config.temperature = 0.1
    torch.manual_seed(3)
    again = engine.generate(policy, renderer, prompts[:1], 8, 6)
    policy.backbone.generation_config.top_k = policy.backbone.generation_config.temperature = None
    assert [c.ids for c in plain[0]] == [c.ids for c in again[0]]
