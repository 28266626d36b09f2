"""How the examples of an optimizer step are cut into forward passes, and laid out for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from qwen_lightning.models.attention import Layout, flex_length
from qwen_lightning.models.first_fit import flex_rows
from qwen_lightning.models.spans import Spans

#: Tokens that take as long as another pass. On a GPU a pass of a few thousand waits for launches, whatever it holds;
#: on a CPU a small model's pass costs as much as about a hundred tokens of it.
_PASS_TOKENS = {"cuda": 4096, "cpu": 128}


@dataclass(frozen=True, slots=True)
class ExamplePack:
    """Examples laid out for one forward pass.

    Args:
        input_ids: (rows, length), 0 where padded.
        visible: What each token sees, where one row holds all examples; else (rows, length), 1 on tokens.
        position_ids: (rows, length), from 0 in every example; None where each example has a row.
        predictors: (tokens,) places in the flattened rows whose hidden states predict the completions' tokens.
        labels: (tokens,) those tokens.
        examples: How many.
        tokens: Tokens that are not padding.
    """

    input_ids: Tensor
    visible: Spans | Tensor
    position_ids: Tensor | None
    predictors: Tensor
    labels: Tensor
    examples: int
    tokens: int


def plan_packs(lengths: Sequence[int], budget: int, layout: Layout, device: torch.device) -> list[list[int]]:
    """Cut a step's examples into packs.

    `flex`: as `flex_rows`. Otherwise each example has a row, and the cuts between lengths cost the fewest tokens, a
    pass counted as some: rows of several examples would save less padding than their dense masks cost.

    Args:
        lengths: Tokens of each example.
        budget: Most tokens of a pack, padding included; a longer example is alone.
        layout: Of the backbone.
        device: Where it computes.

    Returns:
        The examples of each pack, longest first; each example once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    if layout == "flex":
        return [[order[place] for place in row] for row in flex_rows([lengths[index] for index in order], budget)]
    widths = [_width(lengths[index], device) for index in order]
    return [order[part] for part in _cuts(widths, budget, _PASS_TOKENS.get(device.type, _PASS_TOKENS["cuda"]))]


def split_packs(packs: Sequence[list[int]], lengths: Sequence[int], count: int) -> list[list[int]]:
    """Halve the fullest packs until there are `count`, or no pack holds two examples: ranks need as many."""
    packs = [list(pack) for pack in packs]
    while len(packs) < count:
        fullest = max(packs, key=lambda pack: (len(pack) > 1, sum(lengths[index] for index in pack)))
        if len(fullest) == 1:
            break
        half, kept = sum(lengths[index] for index in fullest) / 2, 1
        while kept < len(fullest) - 1 and sum(lengths[index] for index in fullest[: kept + 1]) <= half:
            kept += 1
        packs[packs.index(fullest)] = fullest[:kept]
        packs.append(fullest[kept:])
    return packs


def lay_out(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    members: Sequence[int],
    layout: Layout,
    device: torch.device,
) -> ExamplePack:
    """One pack's tensors on a device: all examples in one row with `flex`, else a row each, padded on the right.

    Args:
        prompts: Token ids, of the whole step.
        completions: Token ids, of the whole step.
        members: The pack's examples.
        layout: Of the backbone.
        device: Where the tensors go.

    Raises:
        ValueError: An empty prompt: nothing predicts its completion's first token.
    """
    if empty := [index for index in members if not prompts[index]]:
        raise ValueError(f"examples {empty} have an empty prompt: nothing predicts their completions' first tokens")
    sizes = torch.tensor([len(prompts[index]) + len(completions[index]) for index in members])
    answers = torch.tensor([len(completions[index]) for index in members])
    if layout == "flex":
        rows, width = 1, flex_length(int(sizes.sum()))
        first = sizes.cumsum(0) - sizes  # of each example, in the flattened rows
    else:
        rows, width = len(members), _width(int(sizes.max()), device)
        first = torch.arange(rows) * width
    within = _counted(sizes)
    places = first.repeat_interleave(sizes) + within
    input_ids = torch.zeros(rows * width, dtype=torch.long)
    input_ids[places] = torch.tensor(
        [*chain.from_iterable((*prompts[index], *completions[index]) for index in members)]
    )
    predictors = (first + sizes - answers - 1).repeat_interleave(answers) + _counted(answers)
    visible: Spans | Tensor
    position_ids = None
    if layout == "flex":
        position_ids = torch.zeros_like(input_ids)
        position_ids[places] = within
        start = torch.arange(width)
        start[places] = first.repeat_interleave(sizes)
        nothing = torch.zeros(1, width, dtype=torch.long)
        visible = Spans(nothing, nothing, start[None])
        position_ids = position_ids[None].to(device)
    else:
        visible = torch.zeros_like(input_ids)
        visible[places] = 1
        visible = visible.view(rows, width)
    return ExamplePack(
        input_ids=input_ids.view(rows, width).to(device),
        visible=visible.to(device),
        position_ids=position_ids,
        predictors=predictors.to(device),
        labels=input_ids[predictors + 1].to(device),
        examples=len(members),
        tokens=len(places),
    )


def _cuts(widths: Sequence[int], budget: int, pass_tokens: int) -> list[slice]:
    """Where to cut rows, widest first, so that the passes' tokens and costs are the least; by dynamic programming."""
    least: list[float] = [0.0]  # of the rows before an end, cut as is best
    begins = [0]
    for end in range(1, len(widths) + 1):
        best, begin = float("inf"), end - 1
        for candidate in range(end - 1, -1, -1):
            tokens = (end - candidate) * widths[candidate]
            if tokens > budget and end - candidate > 1:
                break  # still wider from here on
            if least[candidate] + tokens + pass_tokens < best:
                best, begin = least[candidate] + tokens + pass_tokens, candidate
        least.append(best)
        begins.append(begin)
    parts: list[slice] = []
    end = len(widths)
    while end:
        parts.append(slice(begins[end], end))
        end = begins[end]
    return parts[::-1]


def _width(length: int, device: torch.device) -> int:
    """Of a row: tensor cores like multiples of 8."""
    return -(-length // 8) * 8 if device.type == "cuda" else length


def _counted(sizes: Tensor) -> Tensor:
    """0, 1, … below each size, one after another."""
    starts = sizes.cumsum(0) - sizes
    return torch.arange(int(sizes.sum())) - starts.repeat_interleave(sizes)
