"""What every loss takes and gives: the totals of the optimizer step, and a loss with metrics that add up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LossOutput:
    """A loss and its metrics.

    Args:
        loss: Scalar, already divided by the totals of the optimizer step: add it up over micro-batches, and let
            DDP take the mean over ranks.
        metrics: Detached. Shape (2,) is a sum and its count, to be added over micro-batches and ranks and divided
            at the end; shape () is a maximum, of which the largest is kept. `metrics.step.StepMetrics` does both.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class StepTotals:
    """What a loss is divided by, counted over one whole optimizer step: all micro-batches of all ranks.

    Args:
        completions: Rows that carry a policy term, rows masked for truncation included.
        tokens: Unmasked tokens of those rows; for SFT, the completion tokens.
        general_tokens: Unmasked tokens of the KL-only rows.
        world_size: Ranks over which DDP takes the mean of the gradients.
        local_tokens: `tokens` of this rank alone; all of them unless given.
    """

    completions: int
    tokens: int
    general_tokens: int = 0
    world_size: int = 1
    local_tokens: int | None = None

    @classmethod
    def count(cls, micro_batches: Iterable[tuple[Tensor, Tensor]]) -> StepTotals:
        """Count this rank's micro-batches, each a `mask` (B, T) bool and a `kl_only` (B,) bool.

        A padding row is a KL-only row without tokens: it counts nowhere.
        """
        completions = tokens = general = 0
        for mask, kl_only in micro_batches:
            completions += int((~kl_only).sum())
            tokens += int(mask[~kl_only].sum())
            general += int(mask[kl_only].sum())
        return cls(completions, tokens, general, local_tokens=tokens)

    def as_tensor(self, device: torch.device | str | None = None) -> Tensor:
        """The counts (3,) int64, to be summed over the ranks."""
        return torch.tensor([self.completions, self.tokens, self.general_tokens], dtype=torch.int64, device=device)

    def over_ranks(self, summed: Tensor, world_size: int) -> StepTotals:
        """The totals of the step, from this rank's own and the sum of `as_tensor` over all ranks."""
        completions, tokens, general = (int(value) for value in summed.tolist())
        local = self.tokens if self.local_tokens is None else self.local_tokens
        return replace(
            self,
            completions=completions,
            tokens=tokens,
            general_tokens=general,
            world_size=world_size,
            local_tokens=local,
        )


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """A mean as its sum and count (2,), over the entries of `values` where `mask` holds; same shapes."""
    kept = values.detach().where(mask, 0.0)  # indexing by the mask would wait for the device
    return torch.stack([kept.sum(), mask.sum().to(kept.dtype)])


def masked_max(values: Tensor, mask: Tensor) -> Tensor:
    """The largest of `values` where `mask` holds, minus infinity where nothing does; shape ()."""
    kept = values.detach().where(mask, -torch.inf)
    return kept.max() if kept.numel() else kept.new_full((), -torch.inf)
