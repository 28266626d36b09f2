"""Packs hold every sequence once, within the budget, and change no log-prob and no gradient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from qwen_lightning.models.attention import Layout, flex_length
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.models.spans import Spans
from qwen_lightning.rollout.packs import (
    Pack,
    TokenSequence,
    build_packs,
    completion_logprobs,
    lay_out,
    plan_packs,
    sequence_logprobs,
)

CPU = torch.device("cpu")
LAYOUTS: list[Layout] = ["plain", "dense", "flex"]


def sequences(prompts: list[list[int]], size: int = 1) -> list[TokenSequence]:
    """Ragged groups, and last a group of one."""
    generator = torch.Generator().manual_seed(0)
    repeated = [prompt for prompt in prompts[:-1] for _ in range(size)] + prompts[-1:]
    return [
        TokenSequence(prompt, torch.randint(10, 300, (2 + 3 * index % 7,), generator=generator).tolist())
        for index, prompt in enumerate(repeated)
    ]


def seen_by(pack: Pack) -> Tensor:
    """(rows, length, length) bool, whatever the layout."""
    if isinstance(pack.attention_mask, Spans):
        return pack.attention_mask.dense()[:, 0]
    width = pack.input_ids.shape[1]
    return torch.ones(width, width, dtype=torch.bool).tril() & pack.attention_mask.bool()[:, None]


def histories(pack: Pack) -> Iterator[tuple[int, int, list[int], list[int]]]:
    """For every label: member, label, and the ids and positions of the tokens that its predictor sees."""
    seen, flat, positions = seen_by(pack), pack.input_ids.flatten(), pack.position_ids.flatten()
    width = pack.input_ids.shape[1]
    for index, member in enumerate(pack.members):
        kept = pack.mask[index]
        for label, place in zip(pack.labels[index][kept].tolist(), pack.predictors[index][kept].tolist(), strict=True):
            row = place // width
            past = seen[row, place % width].nonzero()[:, 0] + row * width
            yield member, label, flat[past].tolist(), positions[past].tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_sequence_once_within_the_budget(prompts: list[list[int]], layout: Layout) -> None:
    items = sequences(prompts, 3)
    longest = max(map(len, items))
    for budget in (1, longest, 2 * longest, 10**6):
        packs = build_packs(items, range(len(items)), budget, CPU, layout)
        assert sorted(member for pack in packs for member in pack.members) == list(range(len(items)))
        assert len(packs) == len(plan_packs(items, range(len(items)), budget, layout))
        for pack in packs:
            assert pack.input_ids.numel() <= max(budget, 128) or len(pack.members) == 1
            assert torch.equal(pack.tokens, pack.mask.flatten().nonzero()[:, 0])
            lengths = [len(items[member].completion) for member in pack.members]
            assert pack.mask.sum(1).tolist() == lengths
            for member, label, past, positions in histories(pack):
                whole = [*items[member].prompt, *items[member].completion]
                assert past == whole[: len(past)]
                assert label == whole[len(past)]
                assert positions == list(range(len(past)))


def test_a_prompt_stands_once_a_group(prompts: list[list[int]]) -> None:
    items = sequences(prompts, 5)
    everything = sum(map(len, prompts)) + sum(len(item.completion) for item in items)
    for layout in ("dense", "flex"):
        (pack,) = build_packs(items, range(len(items)), 10**6, CPU, layout)  # type: ignore[arg-type]
        spans = pack.attention_mask
        assert isinstance(spans, Spans)
        own = torch.arange(spans.shape[1]).expand(spans.shape) != spans.start
        starts = len(items) + len(prompts)  # a sequence's first token also starts at itself, as padding does
        assert int(own.sum()) == everything - starts
        if layout == "flex":
            assert pack.input_ids.shape == (1, flex_length(everything))
        else:
            assert pack.input_ids.numel() < len(prompts) * pack.input_ids.shape[1] + 1
            assert pack.input_ids.shape[0] <= len(prompts)
    (plain,) = build_packs(items, range(len(items)), 10**6, CPU)
    assert plain.input_ids.shape == (len(items), max(map(len, items)))


@pytest.mark.parametrize("layout", ["dense", "flex"])
def test_a_group_beyond_the_budget_is_divided_evenly(layout: Layout) -> None:
    items = [TokenSequence(list(range(50)), [7] * 30) for _ in range(20)]
    packs = build_packs(items, range(20), 256, CPU, layout)
    assert sorted(member for pack in packs for member in pack.members) == list(range(20))
    assert [len(pack.members) for pack in packs] == [5, 5, 5, 5]
    assert all(pack.input_ids.numel() <= 256 for pack in packs)
    # 6 fit at a time: 13 are 5, 4 and 4, not 6, 6 and 1.
    assert sorted(len(pack.members) for pack in build_packs(items, range(13), 256, CPU, layout)) == [4, 4, 5]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_packs_are_alike_and_as_many_as_asked_for(layout: Layout) -> None:
    items = [TokenSequence([100 + index // 2] * 100, [7] * 14) for index in range(18)]  # 9 groups of 128 tokens

    def packs(wanted: int) -> list[int]:
        plan = plan_packs(items, range(18), 512, layout, wanted)
        return [len(pack.members) for pack in lay_out(items, plan, CPU, layout)]

    sizes = packs(1)
    fewest = len(sizes)
    # With flex, packs are of one length, a power of two here, and the last is shorter.
    assert max(sizes[: -1 if layout == "flex" else None]) - min(sizes[: -1 if layout == "flex" else None]) <= 2
    for wanted in (fewest + 1, 7, 9):
        sizes = packs(wanted)
        # First fit of equal groups reaches the numbers that divide them evenly.
        assert fewest <= len(sizes) <= wanted
        assert sum(sizes) == 18
        assert max(sizes) - min(sizes) <= (2 if layout != "flex" else 8)
    if layout == "flex":
        assert len(packs(9)) == len(packs(100)) == 9
    assert build_packs(items, [], 512, CPU, layout) == []


def test_rows_of_short_groups_are_filled(prompts: list[list[int]]) -> None:
    items = [TokenSequence([5] * 200, [7] * 40)] + [TokenSequence([20 + index] * 60, [8] * 20) for index in range(3)]
    (pack,) = build_packs(items, range(4), 480, CPU, "dense")
    assert pack.input_ids.shape == (2, 240)


@pytest.mark.parametrize("budget", [1, 300, 10**6])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_packing_changes_no_logprob_and_no_gradient(
    policy: PolicyModel, prompts: list[list[int]], layout: Layout, budget: int
) -> None:
    items = sequences(prompts, 4)
    weights = [torch.linspace(-1, 1, len(item.completion)) * (1 + index % 3) for index, item in enumerate(items)]
    found, gradients = [], []
    for packs in (
        [build_packs(items, [member], 1, CPU)[0] for member in range(len(items))],
        build_packs(items, range(len(items)), budget, CPU, layout),
    ):
        policy.zero_grad()
        values: dict[int, Tensor] = {}
        for pack in packs:
            logprobs, entropies = completion_logprobs(policy, pack, 0.8)
            assert bool((logprobs[~pack.mask] == 0).all())
            assert bool((entropies[pack.mask] > 0).all())
            assert not entropies.requires_grad
            (logprobs * pack.padded(weights)).sum().backward()
            for row, member in enumerate(pack.members):
                values[member] = torch.stack([logprobs[row], entropies[row]])[:, pack.mask[row]].detach()
        found.append(torch.cat([values[i] for i in range(len(items))], 1))
        gradients.append(torch.cat([p.grad.flatten() for p in policy.trainable() if p.grad is not None]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)
    scale = float(gradients[0].abs().max())
    assert scale > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-5 * scale)


def test_log_probs_without_gradient_are_the_same_in_every_layout(policy: PolicyModel, prompts: list[list[int]]) -> None:
    items = sequences(prompts, 4)
    found = []
    for share in (False, True):
        policy.share_rows = share
        assert policy.layout == ("dense" if share else "plain")
        found.append(torch.cat(sequence_logprobs(policy, items, 500, 0.8)))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)
    assert len(found[0]) == sum(len(item.completion) for item in items)
    policy.share_rows = True


def test_members_may_be_some_of_the_sequences(prompts: list[list[int]]) -> None:
    items = sequences(prompts)
    for layout in LAYOUTS:
        packs = build_packs(items, [2, 0], 10**6, CPU, layout)
        assert sorted(packs[0].members) == [0, 2]
        values = [torch.full((len(item.completion),), float(index)) for index, item in enumerate(items)]
        padded = packs[0].padded(values)
        assert padded.shape == packs[0].mask.shape
        for row, member in enumerate(packs[0].members):
            assert set(padded[row][packs[0].mask[row]].tolist()) == {float(member)}
