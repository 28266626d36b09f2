"""Log-probs of given tokens, without ever holding the logits of all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def token_logprobs(
    hidden: Tensor, head: Tensor | nn.Module, labels: Tensor, temperature: float = 1.0, chunk: int = 1024
) -> tuple[Tensor, Tensor]:
    """Log-probs of `labels` under `softmax(head(hidden) / temperature)`, and that distribution's entropies.

    The head is applied to `chunk` rows at a time and again in the backward pass, so that at most one chunk of fp32
    logits lives at once. The gradient flows to `hidden`, and to the head where it is not frozen; entropies carry none.

    Args:
        hidden: (N, H), last hidden states, each at the position before its label.
        head: The output weight (V, H), or a module from (n, H) to logits (n, V).
        labels: (N,) int64.
        temperature: The sampling temperature, above 0.
        chunk: Rows at a time.

    Returns:
        Log-probs (N,) and entropies (N,), in nats and fp32 (float64 where the logits are).

    Raises:
        ValueError: Shapes that do not fit each other, or a temperature or chunk that is not positive.
    """
    if hidden.dim() != 2 or labels.shape != hidden.shape[:1]:
        raise ValueError(f"hidden is {tuple(hidden.shape)}, labels {tuple(labels.shape)}; expected (N, H) and (N,)")
    if not temperature > 0 or chunk < 1:
        raise ValueError(f"temperature {temperature} and chunk {chunk} must be positive")
    project: Callable[[Tensor], Tensor] = (
        head if isinstance(head, nn.Module) else lambda rows: functional.linear(rows, head)
    )

    def one_chunk(rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = project(rows)
        logits = (logits if logits.dtype == torch.float64 else logits.float()) / temperature
        normalizer = logits.logsumexp(-1)
        logprobs = logits.gather(-1, targets[:, None]).squeeze(-1) - normalizer
        with torch.no_grad():
            entropies = torch.special.entr((logits - normalizer[:, None]).exp_()).sum(-1)
        return logprobs, entropies

    # One chunk even for no rows: the outputs then still hang on the graph of `hidden`.
    starts = range(0, max(len(labels), 1), chunk)
    pieces = [
        checkpoint(
            one_chunk,
            hidden[start : start + chunk],
            labels[start : start + chunk],
            use_reentrant=False,
            preserve_rng_state=False,  # a head draws nothing
        )
        for start in starts
    ]
    return torch.cat([piece[0] for piece in pieces]), torch.cat([piece[1] for piece in pieces])
