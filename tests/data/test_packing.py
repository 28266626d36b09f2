"""Packs hold every example once, keep the budget and waste little; a row of several is laid out as each alone."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from qwen_lightning.data.packing import ExamplePack, lay_out, plan_packs, split_packs
from qwen_lightning.models.attention import Layout, flex_capacity, flex_length
from qwen_lightning.models.spans import Spans

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LENGTHS = np.random.default_rng(0).integers(10, 2000, size=100).tolist()


def computed(pack: list[int], layout: Layout, device: torch.device) -> int:
    """Tokens of a pack, padding included."""
    sizes = [LENGTHS[index] for index in pack]
    if layout == "flex":
        return flex_length(sum(sizes))
    longest = max(sizes)
    return len(sizes) * (longest if device == CPU else -(-longest // 8) * 8)


@pytest.mark.parametrize("budget", [1, 100, 4096, 16384, 10**6])
@pytest.mark.parametrize(("layout", "device"), [("flex", CUDA), ("dense", CPU), ("plain", CUDA)])
def test_packs_keep_every_example_and_the_budget(layout: Layout, device: torch.device, budget: int) -> None:
    packs = plan_packs(LENGTHS, budget, layout, device)
    assert sorted(index for pack in packs for index in pack) == list(range(len(LENGTHS)))
    for pack in packs:
        assert len(pack) == 1 or computed(pack, layout, device) <= max(budget, 128 if layout == "flex" else 1)
        assert [LENGTHS[index] for index in pack] == sorted((LENGTHS[index] for index in pack), reverse=True)
    assert packs == plan_packs(LENGTHS, budget, layout, device)


def test_one_row_a_pack_leaves_hardly_any_padding() -> None:
    packs = plan_packs(LENGTHS, 16384, "flex", CUDA)
    fewest = -(-sum(LENGTHS) // flex_capacity(16384))
    assert len(packs) <= fewest + 1
    padding = 1 - sum(LENGTHS) / sum(computed(pack, "flex", CUDA) for pack in packs)
    assert padding < 0.03


def test_rows_are_cut_where_it_costs_least() -> None:
    lengths = [90, 88, 60, 59, 58, 20, 19, 5]
    for budget in (100, 130, 200, 10**6):
        packs = plan_packs(lengths, budget, "plain", CPU)

        def cost(parts: list[list[int]]) -> int:
            return sum(len(part) * lengths[part[0]] + 128 for part in parts)

        inner = range(1, len(lengths))
        every = []
        for count in range(len(lengths)):
            for cuts in combinations(inner, count):
                ends = [0, *cuts, len(lengths)]
                parts = [list(range(begin, end)) for begin, end in pairwise(ends)]
                if all(len(part) == 1 or len(part) * lengths[part[0]] <= budget for part in parts):
                    every.append(cost(parts))
        assert cost(packs) == min(every)
    # A budget that all fit into is no reason to pad them alike.
    many = sorted(LENGTHS, reverse=True)
    parts = plan_packs(many, 10**6, "plain", CPU)
    assert sum(len(part) * many[part[0]] for part in parts) < 1.1 * sum(many) < 0.6 * len(many) * many[0]


def test_ranks_reach_the_same_count_by_halving_the_fullest() -> None:
    lengths = [50, 40, 30, 20, 10]
    assert split_packs([[0, 1], [2, 3, 4]], lengths, 2) == [[0, 1], [2, 3, 4]]
    assert split_packs([[0, 1], [2, 3, 4]], lengths, 3) == [[0], [2, 3, 4], [1]]
    assert split_packs([[0, 1], [2, 3, 4]], lengths, 4) == [[0], [2], [1], [3, 4]]
    assert sorted(split_packs([[0, 1], [2, 3, 4]], lengths, 9)) == [[0], [1], [2], [3], [4]]


def examples(pack: ExamplePack) -> list[list[int]]:
    """Every example's token ids and, from its completion on, labels, read back from a pack of one row."""
    assert isinstance(pack.visible, Spans)
    assert pack.position_ids is not None
    ids, starts = pack.input_ids[0].tolist(), pack.visible.start[0].tolist()
    found: list[list[int]] = []
    for place in range(pack.tokens):
        if starts[place] == place:
            found.append([])
        found[-1].append(ids[place])
        assert pack.position_ids[0, place] == place - starts[place]
    assert starts[pack.tokens :] == list(range(pack.tokens, len(ids)))  # padding sees itself alone
    return found


PROMPTS, COMPLETIONS = [[11, 12, 13], [21], [31, 32]], [[14, 15], [22, 23, 24], [33]]
BOTH = [prompt + completion for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True)]


def test_a_row_of_several_examples() -> None:
    pack = lay_out(PROMPTS, COMPLETIONS, [2, 0, 1], "flex", CPU)
    assert pack.input_ids.shape == (1, 128)
    assert examples(pack) == [BOTH[2], BOTH[0], BOTH[1]]
    assert (pack.examples, pack.tokens) == (3, 12)
    assert isinstance(pack.visible, Spans)
    assert not pack.visible.prefix_end.any()
    assert pack.predictors.tolist() == [1, 5, 6, 8, 9, 10]
    assert pack.labels.tolist() == [33, 14, 15, 22, 23, 24]


@pytest.mark.parametrize("layout", ["flex", "dense"])
def test_an_empty_prompt_is_refused(layout: Layout) -> None:
    with pytest.raises(ValueError, match=r"examples \[1\] have an empty prompt"):
        lay_out([[1], []], [[2], [3]], [0, 1], layout, CPU)


def test_a_row_an_example() -> None:
    pack = lay_out(PROMPTS, COMPLETIONS, [0, 2], "dense", CPU)
    assert pack.input_ids.tolist() == [BOTH[0], [*BOTH[2], 0, 0]]
    assert isinstance(pack.visible, torch.Tensor)
    assert pack.visible.tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert pack.position_ids is None
    assert pack.predictors.tolist() == [2, 3, 6]
    assert pack.labels.tolist() == [14, 15, 33]
    assert (pack.examples, pack.tokens) == (2, 8)
