"""Sampling on the device, with the log-prob of what was drawn."""

from __future__ import annotations

import torch
from torch import Tensor


def draw(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw from `softmax(logits / temperature)` by the Gumbel-max trick (Maddison and others, 2014); 0 is greedy.

    Args:
        logits: (rows, vocabulary).
        temperature: At least 0.

    Returns:
        Ids (rows,) and their fp32 log-probs (rows,).
    """
    scores = logits.float()
    if temperature not in (0.0, 1.0):
        scores = scores / temperature
    # The logarithm of an exponential draw is Gumbel noise with the sign turned.
    noisy = scores - torch.empty_like(scores).exponential_().log_() if temperature > 0 else scores
    ids = noisy.argmax(-1)
    return ids, scores.gather(1, ids[:, None])[:, 0] - scores.logsumexp(-1)
