"""Packs hold every sequence once, within the budget, and change no log-prob and no gradient."""

from __future__ import annotations

import torch

from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.packs import TokenSequence, build_packs, completion_logprobs


def sequences(prompts: list[list[int]]) -> list[TokenSequence]:
    generator = torch.Generator().manual_seed(0)
    return [
        TokenSequence(prompt, torch.randint(10, 300, (2 + 3 * index % 7,), generator=generator).tolist())
        for index, prompt in enumerate(prompts)
    ]


def test_every_sequence_once_within_the_budget(prompts: list[list[int]]) -> None:
    items = sequences(prompts)
    longest = max(map(len, items))
    for budget in (1, longest, 2 * longest, 10**6):
        packs = build_packs(items, range(len(items)), budget, torch.device("cpu"))
        assert sorted(member for pack in packs for member in pack.members) == list(range(len(items)))
        for pack in packs:
            assert pack.input_ids.numel() <= budget or len(pack.members) == 1
            for row, member in enumerate(pack.members):
                item = items[member]
                assert pack.labels[row][pack.mask[row]].tolist() == item.completion
                assert pack.input_ids[row, : len(item)].tolist() == item.prompt + item.completion
                assert int(pack.attention_mask[row].sum()) == len(item)


def test_packing_changes_no_logprob_and_no_gradient(policy: PolicyModel, prompts: list[list[int]]) -> None:
    items = sequences(prompts)
    found, gradients = [], []
    for budget in (1, 10**6):
        policy.zero_grad()
        values: dict[int, torch.Tensor] = {}
        for pack in build_packs(items, range(len(items)), budget, policy.device):
            logprobs, entropies = completion_logprobs(policy, pack, 0.8)
            assert bool((logprobs[~pack.mask] == 0).all())
            assert bool((entropies[pack.mask] > 0).all())
            logprobs.sum().backward()
            values |= {member: logprobs[row][pack.mask[row]].detach() for row, member in enumerate(pack.members)}
        found.append(torch.cat([values[i] for i in range(len(items))]))
        gradients.append(torch.cat([p.grad.flatten() for p in policy.trainable() if p.grad is not None]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)
    assert float(gradients[0].abs().max()) > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


def test_members_may_be_some_of_the_sequences(prompts: list[list[int]]) -> None:
    items = sequences(prompts)
    packs = build_packs(items, [2, 0], 10**6, torch.device("cpu"))
    assert sorted(packs[0].members) == [0, 2]
    values = [torch.full((len(item.completion),), float(index)) for index, item in enumerate(items)]
    padded = packs[0].padded(values)
    assert padded.shape == packs[0].mask.shape
    for row, member in enumerate(packs[0].members):
        assert set(padded[row][packs[0].mask[row]].tolist()) == {float(member)}
