"""Packs: prompts and completions laid out for one forward pass, within a token budget.

The completions of a prompt share it: the prompt stands once, each completion after it sees the prompt and itself, at
the positions that it has in a row of its own. Hidden states, and gradients, are those of one row a completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from qwen_lightning.losses.logprobs import token_logprobs
from qwen_lightning.models.attention import Layout, flex_capacity, flex_length
from qwen_lightning.models.first_fit import flex_rows, least_capacity
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.models.spans import Spans


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A prompt and one completion, as token ids."""

    prompt: list[int]
    completion: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, slots=True)
class Pack:
    """Several groups, padded on the right: prompts, each followed by completions of it.

    Args:
        members: Indices of the sequences.
        input_ids: (rows, length).
        position_ids: (rows, length); each completion goes on where its prompt ended.
        attention_mask: What each token sees; or (rows, length), 1 on tokens, where every row is one sequence.
        predictors: (members, T) places in the flattened rows whose hidden states predict the completion's tokens; 0
            beyond it.
        labels: (members, T) the completion's tokens; 0 beyond it.
        mask: (members, T) True on the completion's tokens.
        tokens: (N,) where `mask` is True, in the flattened mask: looking that up would wait for the device.
    """

    members: list[int]
    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor | Spans
    predictors: Tensor
    labels: Tensor
    mask: Tensor
    tokens: Tensor

    def padded(self, values: Sequence[Tensor]) -> Tensor:
        """(members, T) on the pack's device, from one (tokens,) tensor a sequence of the whole list."""
        rows = pad_sequence([values[member] for member in self.members], batch_first=True)
        return rows.to(self.mask.device)


@dataclass(slots=True)
class _Group:
    """A prompt and completions of it, next to each other in a row."""

    prompt: list[int]
    members: list[int]
    length: int


@dataclass(slots=True)
class Row:
    """Groups of one row."""

    groups: list[_Group] = field(default_factory=list)
    length: int = 0

    def add(self, group: _Group) -> None:
        self.groups.append(group)
        self.length += group.length


def plan_packs(
    sequences: Sequence[TokenSequence],
    members: Sequence[int],
    token_budget: int,
    layout: Layout = "plain",
    at_least: int = 1,
) -> list[list[Row]]:
    """The rows of each pack of `sequences[i] for i in members`, deterministically: few packs, and of like size.

    A group beyond the budget is divided, its prompt then stands once a part; a sequence beyond it gets a pack of its
    own.

    Args:
        sequences: Prompts and completions; those of equal prompts are a group, unless the layout is `plain`.
        members: Which of them.
        token_budget: Tokens a pack, padding included.
        layout: As the backbone takes them.
        at_least: How many packs to make, even of fewer tokens, where there are groups enough.
    """
    budget = flex_capacity(token_budget) if layout == "flex" else token_budget
    groups = _groups(sequences, members, budget, layout)
    if layout == "flex":
        rows = flex_rows([group.length for group in groups], budget, at_least)
        return [[_row([groups[index] for index in row])] for row in rows]
    if not groups:
        return []
    wanted = max(len(_fill(groups, budget, layout)), at_least)
    least = min(groups[0].length, budget)
    return _fill(groups, least_capacity(lambda most: len(_fill(groups, most, layout)), least, budget, wanted), layout)


def lay_out(
    sequences: Sequence[TokenSequence], plan: Sequence[Sequence[Row]], device: torch.device, layout: Layout = "plain"
) -> list[Pack]:
    """The packs of a plan for a layout, on a device."""
    return [_build(sequences, rows, device, layout) for rows in plan]


def build_packs(
    sequences: Sequence[TokenSequence],
    members: Sequence[int],
    token_budget: int,
    device: torch.device,
    layout: Layout = "plain",
) -> list[Pack]:
    """Plan packs and lay them out; see `plan_packs`."""
    return lay_out(sequences, plan_packs(sequences, members, token_budget, layout), device, layout)


def completion_logprobs(policy: PolicyModel, pack: Pack, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs of the completions' tokens under the adapter in use.

    Returns:
        (members, T) fp32 log-probs of softmax(logits / temperature), and (members, T) entropies without gradient;
        both 0 beyond a completion.
    """
    hidden = policy.hidden_states(pack.input_ids, pack.attention_mask, pack.position_ids)
    chosen = hidden.flatten(0, 1)[pack.predictors.flatten()[pack.tokens]]
    logprobs, entropies = token_logprobs(chosen, policy.head, pack.labels.flatten()[pack.tokens], temperature)
    empty = torch.zeros(pack.mask.numel(), dtype=logprobs.dtype, device=logprobs.device)

    def spread(values: Tensor) -> Tensor:
        return empty.index_copy(0, pack.tokens, values).view(pack.mask.shape)

    return spread(logprobs), spread(entropies)


def sequence_logprobs(
    policy: PolicyModel, sequences: Sequence[TokenSequence], token_budget: int, temperature: float = 1.0
) -> list[Tensor]:
    """Log-probs of every completion's tokens under the adapter in use, without gradient: a (tokens,) tensor each."""
    result: list[Tensor] = [torch.empty(0)] * len(sequences)
    with policy.evaluating():
        for pack in build_packs(sequences, range(len(sequences)), token_budget, policy.device, policy.layout):
            values = completion_logprobs(policy, pack, temperature)[0]
            for row, member in enumerate(pack.members):
                result[member] = values[row, : len(sequences[member].completion)]
    return result


# ---------------------------------------------------------------------- planning


def _groups(sequences: Sequence[TokenSequence], members: Sequence[int], budget: int, layout: Layout) -> list[_Group]:
    """Longest first: what has to fit sets the width of a pack's rows."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for member in members:
        key = (member,) if layout == "plain" else tuple(sequences[member].prompt)
        by_prompt.setdefault(key, []).append(member)
    groups = [part for own in by_prompt.values() for part in _divided(sequences, own, budget)]
    return sorted(groups, key=lambda group: (-group.length, group.members[0]))


def _divided(sequences: Sequence[TokenSequence], members: Sequence[int], budget: int) -> list[_Group]:
    """Completions of one prompt in as many parts as the budget asks for."""
    prompt = sequences[members[0]].prompt

    def group(own: list[int]) -> _Group:
        return _Group(prompt, own, len(prompt) + sum(len(sequences[member].completion) for member in own))

    parts: list[list[int]] = [[]]
    left = budget - len(prompt)
    for member in members:
        size = len(sequences[member].completion)
        if parts[-1] and size > left:
            parts.append([])
            left = budget - len(prompt)
        parts[-1].append(member)
        left -= size
    if len(parts) == 1:
        return [group(parts[0])]
    # Evenly, where that fits: a remainder of its own would make a pack that is nearly empty.
    even = [group([]) for _ in parts]
    for member in sorted(members, key=lambda index: (-len(sequences[index].completion), index)):
        least = min(even, key=lambda part: part.length)
        least.members.append(member)
        least.length += len(sequences[member].completion)
    fits = all(part.length <= budget for part in even)
    return [group(sorted(part.members)) for part in even] if fits else [group(part) for part in parts]


def _fill(groups: Sequence[_Group], budget: int, layout: Layout) -> list[list[Row]]:
    """Packs of rows as wide as their first, by first fit over groups that come longest first."""
    packs: list[list[Row]] = []
    for group in groups:
        open_rows = packs[-1] if packs and layout == "dense" else []
        width = packs[-1][0].groups[0].length if packs else 0
        row = next((row for row in open_rows if row.length + group.length <= width), None)
        if row is None:
            row = Row()
            if packs and (len(packs[-1]) + 1) * width <= budget:
                packs[-1].append(row)
            else:
                packs.append([row])
        row.add(group)
    return packs


def _row(groups: Sequence[_Group]) -> Row:
    row = Row()
    for group in groups:
        row.add(group)
    return row


# ---------------------------------------------------------------------- tensors


def _build(sequences: Sequence[TokenSequence], rows: Sequence[Row], device: torch.device, layout: Layout) -> Pack:
    width = max(row.length for row in rows)
    width = flex_length(width) if layout == "flex" else width
    ids, positions, prefix_start, prefix_end = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(4))
    start = torch.arange(width).repeat(len(rows), 1)  # padding sees itself
    attention = torch.zeros_like(ids)
    members: list[int] = []
    predictors: list[Tensor] = []
    for index, row in enumerate(rows):
        attention[index, : row.length] = 1
        cursor = 0
        for group in row.groups:
            begin, end = cursor, cursor + len(group.prompt)
            prompt = slice(begin, end)
            ids[index, prompt], positions[index, prompt] = torch.tensor(group.prompt), torch.arange(end - begin)
            start[index, prompt] = begin
            cursor = end
            for member in group.members:
                completion = sequences[member].completion
                own = slice(cursor, cursor + len(completion))
                ids[index, own] = torch.tensor(completion, dtype=torch.long)
                positions[index, own] = torch.arange(end - begin, end - begin + len(completion))
                prefix_start[index, own], prefix_end[index, own], start[index, own] = begin, end, cursor
                # The prompt's last token predicts the first, each token the next.
                before = torch.arange(cursor - 1, own.stop - 1)
                before[:1] = end - 1
                predictors.append(index * width + before)
                members.append(member)
                cursor = own.stop
    spans = Spans(prefix_start, prefix_end, start).to(device)
    labels = [torch.tensor(sequences[member].completion, dtype=torch.long) for member in members]
    mask = pad_sequence([torch.ones(len(label), dtype=torch.bool) for label in labels], batch_first=True)
    return Pack(
        members,
        ids.to(device),
        positions.to(device),
        attention.to(device) if layout == "plain" else spans,
        pad_sequence(predictors, batch_first=True).to(device),
        pad_sequence(labels, batch_first=True).to(device),
        mask.to(device),
        mask.flatten().nonzero()[:, 0].to(device),
    )
