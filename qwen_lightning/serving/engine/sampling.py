"""Sampling of a batch in which every row has settings and random numbers of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qwen_lightning.serving.generation import Sampling, Token


def sample(logits: Tensor, settings: Sequence[Sampling], uniforms: Sequence[float]) -> list[Token]:
    """Each row's next token.

    A row's token is where the cumulative distribution passes the row's random number, so that it depends on the row's
    logits and number alone, on any device.

    Args:
        logits: (rows, vocabulary).
        settings: Of each row.
        uniforms: A random number in [0, 1) for each row; those of greedy rows are not used.
    """
    scores = logits.float()
    ids = scores.argmax(-1)
    drawn = [row for row, own in enumerate(settings) if own.temperature > 0]
    if drawn:
        chosen = torch.tensor(drawn, device=logits.device)
        numbers = torch.tensor([uniforms[row] for row in drawn], dtype=torch.float64, device=logits.device)
        ids[chosen] = _drawn(scores[chosen], [settings[row] for row in drawn], numbers)
    normalizer = scores.logsumexp(-1)
    logprobs = (scores.gather(1, ids[:, None])[:, 0] - normalizer).tolist()
    tops = _top_logprobs(scores, normalizer, settings)
    return [Token(*each) for each in zip(ids.tolist(), logprobs, tops, strict=True)]


def _drawn(scores: Tensor, settings: Sequence[Sampling], numbers: Tensor) -> Tensor:
    """Ids by inverse transform sampling, rows of temperature 0 not among them."""
    temperatures = torch.tensor([own.temperature for own in settings], dtype=torch.float64, device=scores.device)
    # In fp64: a cumulative sum over a large vocabulary would lose small probabilities.
    probabilities = torch.softmax((scores - scores.amax(-1, keepdim=True)).double() / temperatures[:, None], -1)
    cut = [row for row, own in enumerate(settings) if own.top_p < 1]
    if cut:
        limits = torch.tensor([settings[row].top_p for row in cut], dtype=torch.float64, device=scores.device)
        probabilities[cut] = _nucleus(probabilities[cut], limits)
    cumulative = probabilities.cumsum(-1)
    places = torch.searchsorted(cumulative, (numbers * cumulative[:, -1])[:, None], right=True)
    # Rounding can bring a number up to the whole sum: then it is the last token that has any probability.
    last = (cumulative < cumulative[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum(places, last)[:, 0]


def _nucleus(probabilities: Tensor, limits: Tensor) -> Tensor:
    """Probabilities, 0 for tokens after those that reach the limit together."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(ordered).scatter(-1, order, ordered.masked_fill(before >= limits[:, None], 0.0))


def _top_logprobs(
    scores: Tensor, normalizer: Tensor, settings: Sequence[Sampling]
) -> list[tuple[tuple[int, float], ...]]:
    """The likeliest tokens of the rows that ask for them."""
    most = max(own.top_logprobs for own in settings)
    if not most:
        return [()] * len(settings)
    top = scores.topk(min(most, scores.shape[-1]))
    ids, logprobs = top.indices.tolist(), (top.values - normalizer[:, None]).tolist()
    return [
        tuple(zip(row_ids, row_logprobs, strict=True))[: own.top_logprobs]
        for row_ids, row_logprobs, own in zip(ids, logprobs, settings, strict=True)
    ]
