"""Completion-only cross-entropy."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from qwen_lightning.losses.base import LossOutput, StepTotals, masked_mean


class SFTLoss:
    """Negative log-likelihood of the completion tokens, averaged over the tokens of the whole optimizer step.

    Averaging within each micro-batch instead would weigh tokens of short micro-batches more.
    """

    MEANS: ClassVar[tuple[str, ...]] = ("nll", "entropy")
    MAXIMA: ClassVar[tuple[str, ...]] = ()

    def __call__(
        self, logprobs: Tensor, mask: Tensor, totals: StepTotals, entropies: Tensor | None = None
    ) -> LossOutput:
        """The micro-batch's share of the optimizer step's loss.

        Args:
            logprobs: Of the labels, of any shape, in nats.
            mask: Bool of the same shape, completion tokens; entries of `logprobs` outside it may hold anything.
            totals: Of the whole optimizer step.
            entropies: Of the same shape, for the metric alone.

        Raises:
            ValueError: Shapes that do not fit each other.
        """
        if mask.shape != logprobs.shape:
            raise ValueError(f"mask is {tuple(mask.shape)}, logprobs {tuple(logprobs.shape)}")
        loss = -logprobs.where(mask, 0.0).sum() * (totals.world_size / max(totals.tokens, 1))
        metrics = {"nll": masked_mean(-logprobs, mask)}
        if entropies is not None:
            metrics["entropy"] = masked_mean(entropies, mask)
        return LossOutput(loss, metrics)
