"""Log-probs of given tokens, without ever holding the logits of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from qwen_lightning.compilation import compiled

#: Rows whose logits are computed at a time.
HEAD_ROWS = 1024


def token_logprobs(
    hidden: Tensor, head: Tensor | nn.Module, labels: Tensor, temperature: float = 1.0, chunk: int = HEAD_ROWS
) -> tuple[Tensor, Tensor]:
    """Log-probs of `labels` under `softmax(head(hidden) / temperature)`, and that distribution's entropies.

    The head is applied to `chunk` rows at a time, so that logits of one chunk alone live at once (in fp32, where
    this is not compiled, in a few copies). With a frozen linear head, the derivative of each log-prob by its hidden
    state is computed with it, (N, H) in all, and backward only scales it: two products with the head instead of three.
    Any other head is applied again in backward. The gradient flows to `hidden`, and to the head where it is not frozen;
    entropies carry none.

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
    frozen = _frozen_linear(head)
    if frozen is not None and torch.is_grad_enabled() and hidden.requires_grad:
        logprobs, entropies = _FrozenHead.apply(hidden, *frozen, labels, temperature, chunk)
        return logprobs, entropies
    if frozen is not None:
        return _frozen_head(hidden, *frozen, labels, temperature, chunk, False)[:2]
    project: Callable[[Tensor], Tensor] = (
        head if isinstance(head, nn.Module) else lambda rows: functional.linear(rows, head)
    )

    def one_chunk(rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = _scaled(project(rows), temperature)
        normalizer = logits.logsumexp(-1)
        logprobs = logits.gather(-1, targets[:, None]).squeeze(-1) - normalizer
        with torch.no_grad():
            entropies = torch.special.entr((logits - normalizer[:, None]).exp_()).sum(-1)
        return logprobs, entropies

    pieces = [
        checkpoint(
            one_chunk,
            hidden[rows],
            labels[rows],
            use_reentrant=False,
            preserve_rng_state=False,  # a head draws nothing
        )
        for rows in _chunks(len(labels), chunk)
    ]
    return torch.cat([piece[0] for piece in pieces]), torch.cat([piece[1] for piece in pieces])


class _FrozenHead(torch.autograd.Function):
    """Log-probs, and the slope of each by its hidden state: d log p(y) / d h = (W[y] - sum_v p(v) W[v]) / T."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, temperature: float, chunk: int
    ) -> tuple[Tensor, Tensor]:
        logprobs, entropies, slopes = _frozen_head(hidden, weight, bias, labels, temperature, chunk, True)
        ctx.save_for_backward(slopes)
        ctx.dtype = hidden.dtype
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor | None) -> tuple[Tensor, None, None, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return (upstream[:, None] * slopes).to(ctx.dtype), None, None, None, None, None


def _frozen_head(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    temperature: float,
    chunk: int,
    with_slopes: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(N,) log-probs, (N,) entropies and, where asked for, (N, H) slopes; nothing of it carries a gradient."""
    device = hidden.device.type
    autocast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if autocast else torch.promote_types(hidden.dtype, weight.dtype)
    weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    statistics = _compiled_statistics() if device == "cuda" else _statistics
    # Not a number, which would compile anew; on the device, where filling it waits for nothing.
    divisor = torch.full((), temperature, dtype=_exact(dtype), device=hidden.device)
    logprobs, entropies, slopes = [], [], [hidden.new_empty(0, hidden.shape[1], dtype=dtype)]
    with torch.no_grad(), torch.autocast(device, enabled=False):
        for rows in _chunks(len(labels), chunk):
            logits = functional.linear(hidden[rows].to(dtype), weight, bias)
            values, spread, by_logits = statistics(logits, labels[rows], divisor, with_slopes)
            logprobs.append(values)
            entropies.append(spread)
            if by_logits is not None:
                slopes.append(by_logits @ weight)
    return torch.cat(logprobs), torch.cat(entropies), torch.cat(slopes)


def _statistics(
    logits: Tensor, targets: Tensor, temperature: Tensor, with_slopes: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(n,) log-probs, (n,) entropies and (n, V) slopes of the log-probs by the logits, in the logits' type."""
    scaled = _scaled(logits, temperature)
    spread = scaled - scaled.logsumexp(-1, keepdim=True)
    probs = spread.exp()
    slopes = None
    if with_slopes:
        chosen = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
        # The difference is taken before rounding: of a token that is almost sure, it is small.
        slopes = (torch.where(chosen, 1 - probs, -probs) / temperature).to(logits.dtype)
    return spread.gather(-1, targets[:, None]).squeeze(-1), torch.special.entr(probs).sum(-1), slopes


@cache
def _compiled_statistics(
    **options: Any,
) -> Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor, Tensor | None]]:
    """Few kernels in place of a dozen, each of which would go over a chunk of fp32 logits in memory.

    One graph with slopes and one without, for any number of rows; and again for other types and vocabularies, in
    inference mode, and for a pass that is measured.
    """
    optimized = compiled(_statistics, limit=32, **options)

    def statistics(
        logits: Tensor, targets: Tensor, temperature: Tensor, with_slopes: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        if len(targets) < 2:  # Dynamo would take both numbers for constants
            return _statistics(logits, targets, temperature, with_slopes)
        for rows in (logits, targets):
            torch._dynamo.maybe_mark_dynamic(rows, 0)
        return optimized(logits, targets, temperature, with_slopes)

    return statistics


def _scaled(logits: Tensor, temperature: float | Tensor) -> Tensor:
    return logits.to(_exact(logits.dtype)) / temperature


def _exact(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 else torch.float32


def _chunks(rows: int, chunk: int) -> Iterator[slice]:
    # One chunk even for no rows: the outputs then still hang on the graph of the hidden states.
    return (slice(start, start + chunk) for start in range(0, max(rows, 1), chunk))


def _frozen_linear(head: Tensor | nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """Weight and bias of a head that is a linear map and no more, and not trained."""
    if isinstance(head, Tensor):
        weight, bias = head, None
    elif type(head) is nn.Linear and not (head._forward_hooks or head._forward_pre_hooks):
        weight, bias = head.weight, head.bias
    else:
        return None
    trained = weight.requires_grad or (bias is not None and bias.requires_grad)
    return None if trained else (weight, bias)
