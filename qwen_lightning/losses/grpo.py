"""The GRPO family of losses, in the conventions of TRL 1.16."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from qwen_lightning.errors import ConfigError
from qwen_lightning.losses.base import LossOutput, StepTotals, masked_max, masked_mean

__all__ = ["GRPOLoss", "LossInputs", "LossOutput", "StepTotals"]

LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo"]
ImportanceLevel = Literal["token", "sequence"]
KLEstimator = Literal["k1", "k2", "k3"]
MismatchCorrection = Literal["none", "truncate", "mask"]


@dataclass(frozen=True, slots=True)
class LossInputs:
    """One micro-batch of B completions of at most T tokens. Entries outside `mask` may hold anything.

    Args:
        logprobs: (B, T), of the policy being trained; carries the gradient.
        old_logprobs: (B, T), of the policy that sampled, by the trainer's own forward.
        reference_logprobs: (B, T), of the frozen reference.
        mask: (B, T) bool, completion tokens; all False for a row masked for truncation.
        advantages: (B,); ignored where `kl_only`.
        kl_only: (B,) bool, general rows: no policy term, KL averaged over their own tokens.
        rollout_logprobs: (B, T), of the engine that sampled, where it is not the trainer.
        entropies: (B, T) in nats, for the metric alone.

    Raises:
        ValueError: Shapes that do not fit each other.
    """

    logprobs: Tensor
    old_logprobs: Tensor
    reference_logprobs: Tensor
    mask: Tensor
    advantages: Tensor
    kl_only: Tensor
    rollout_logprobs: Tensor | None = None
    entropies: Tensor | None = None

    def __post_init__(self) -> None:
        rows = self.logprobs.shape[:1]
        for name in ("old_logprobs", "reference_logprobs", "mask", "rollout_logprobs", "entropies"):
            value = getattr(self, name)
            if value is not None and value.shape != self.logprobs.shape:
                raise ValueError(f"{name} is {tuple(value.shape)}, logprobs {tuple(self.logprobs.shape)}")
        for name in ("advantages", "kl_only"):
            if (value := getattr(self, name)).shape != rows:
                raise ValueError(f"{name} is {tuple(value.shape)}, expected {tuple(rows)}")
        for name in ("mask", "kl_only"):
            if getattr(self, name).dtype != torch.bool:
                raise ValueError(f"{name} must be bool, is {getattr(self, name).dtype}")


class GRPOLoss:
    """Clipped policy term plus β · KL to the reference, over the completions of one optimizer step.

    With ρ the ratio of policy to old policy and A the advantage, a token's policy term is
    `-min(min(ρ, delta) A, clip(ρ, 1 - epsilon_low, 1 + epsilon_high) A)`, or `-min(ρ, epsilon_high) A logprob` with
    the first factor held constant for `cispo`. It is multiplied by the mismatch weight, then β · KL is added.

    The estimators of KL differ in value and in gradient. With d = reference - policy log-prob: k1 = -d, k2 = d²/2,
    k3 = exp(d) - d - 1 (Schulman 2020, http://joschu.net/blog/kl-approx.html). In a loss, unweighted k1 has the
    gradient of the log-prob itself, zero in expectation: it holds nothing back. Unweighted k2 has the gradient of
    the reverse KL on samples of the policy, unweighted k3 that of the forward KL. `kl_importance_weighted`
    multiplies by ρ, which gives k1 and k3 the reverse KL's gradient too (DeepSeek-V3.2, arXiv:2512.02556).

    Args:
        loss_type: How the token terms are averaged: `grpo` over each completion's tokens, then over completions
            (arXiv:2402.03300); `bnpo` over the tokens of this rank; `dr_grpo` over completions times
            `max_completion_length` (arXiv:2503.20783); `dapo` (arXiv:2503.14476) and `cispo` (arXiv:2506.13585) over
            all tokens. Each over the optimizer step.
        importance_level: `token`, or `sequence` for the mean log-ratio of a completion (GSPO, arXiv:2507.18071).
        epsilon_low: Lower clip range.
        epsilon_high: Upper clip range, `epsilon_low` unless given; for `cispo` the ratio's absolute cap, default 5.
        delta: Cap of the unclipped ratio (two-sided clipping, arXiv:2505.07291), above `1 + epsilon_high`.
        kl_estimator: `k1`, `k2` or `k3`.
        kl_importance_weighted: Multiply KL by the ratio, taken before the `delta` cap.
        general_kl_weight: Weight, beside β, of the KL of general rows, averaged over the step's general tokens.
        mismatch: Importance weight `exp(old - rollout)` of the policy term: `none`; `truncate` at `mismatch_cap`;
            `mask` to 0 outside [1 / cap, cap].
        mismatch_level: Weight of a token, or of the whole completion (the product over its tokens).
        mismatch_cap: C above, at least 1.
        max_completion_length: Tokens; `dr_grpo` needs it.

    Raises:
        ConfigError: Settings that cannot be meant together.
    """

    #: Metrics given as (sum, count). Over tokens; `ratio` and clip fractions over completions at sequence level.
    MEANS: ClassVar[tuple[str, ...]] = (
        "kl",
        "general_kl",
        "clip_low",
        "clip_high",
        "ratio",
        "mismatch",
        "mismatch_kl",
        "mismatch_cut",
        "entropy",
    )
    #: Metrics given as maxima.
    MAXIMA: ClassVar[tuple[str, ...]] = ("ratio_max", "mismatch_max")

    def __init__(
        self,
        loss_type: LossType = "dapo",
        importance_level: ImportanceLevel = "token",
        epsilon_low: float = 0.2,
        epsilon_high: float | None = None,
        delta: float | None = None,
        kl_estimator: KLEstimator = "k3",
        kl_importance_weighted: bool = True,
        general_kl_weight: float = 1.0,
        mismatch: MismatchCorrection = "none",
        mismatch_level: ImportanceLevel = "token",
        mismatch_cap: float = 3.0,
        max_completion_length: int | None = None,
    ) -> None:
        for name, value, known in (
            ("loss_type", loss_type, ("grpo", "bnpo", "dr_grpo", "dapo", "cispo")),
            ("importance_level", importance_level, ("token", "sequence")),
            ("kl_estimator", kl_estimator, ("k1", "k2", "k3")),
            ("mismatch", mismatch, ("none", "truncate", "mask")),
            ("mismatch_level", mismatch_level, ("token", "sequence")),
        ):
            if value not in known:
                raise ConfigError(f"loss: {name} {value!r} is unknown; use one of {', '.join(known)}")
        if epsilon_high is None:
            epsilon_high = 5.0 if loss_type == "cispo" else epsilon_low
        if not 0 <= epsilon_low < 1 or not (0 <= epsilon_high < math.inf):
            raise ConfigError(
                f"loss: epsilon_low {epsilon_low} must lie in [0, 1), epsilon_high {epsilon_high} in [0, inf)"
            )
        if loss_type == "cispo" and epsilon_high < 1:
            raise ConfigError(
                f"loss: for cispo epsilon_high is the ratio's absolute cap; {epsilon_high} is below 1, use 5"
            )
        if delta is not None and (loss_type == "cispo" or not delta > 1 + epsilon_high):
            raise ConfigError("loss: delta caps the unclipped ratio: above 1 + epsilon_high, and not with cispo")
        if not (0 <= general_kl_weight < math.inf):
            raise ConfigError(f"loss: general_kl_weight {general_kl_weight} must be finite and not negative")
        if not (1 <= mismatch_cap < math.inf):
            raise ConfigError(f"loss: mismatch_cap {mismatch_cap} must be finite and at least 1")
        if loss_type == "dr_grpo" and (max_completion_length is None or max_completion_length < 1):
            raise ConfigError("loss: dr_grpo divides by max_completion_length; set it to the rollout's token limit")
        if importance_level == "sequence" and loss_type != "grpo":
            warnings.warn(
                f"loss: with importance_level sequence, {loss_type} weighs completions by length; use loss_type grpo",
                stacklevel=2,
            )
        if kl_estimator == "k1" and not kl_importance_weighted:
            warnings.warn(
                "loss: the gradient of k1 without kl_importance_weighted is zero in expectation: KL holds nothing back",
                stacklevel=2,
            )
        self.loss_type, self.importance_level = loss_type, importance_level
        self.epsilon_low, self.epsilon_high, self.delta = epsilon_low, epsilon_high, delta
        self.kl_estimator, self.kl_importance_weighted = kl_estimator, kl_importance_weighted
        self.general_kl_weight = general_kl_weight
        self.mismatch, self.mismatch_level, self.mismatch_cap = mismatch, mismatch_level, mismatch_cap
        self.max_completion_length = max_completion_length

    def __call__(self, inputs: LossInputs, totals: StepTotals, beta: float) -> LossOutput:
        """The micro-batch's share of the optimizer step's loss.

        Args:
            inputs: The micro-batch; B may be 0.
            totals: Of the whole optimizer step.
            beta: Effective weight of KL.

        Raises:
            ValueError: β is negative or not finite, or the mismatch correction has no rollout log-probs.
        """
        if not (0 <= beta < math.inf):
            raise ValueError(f"beta is {beta}")
        mask = inputs.mask
        policy_rows, general_rows = mask & ~inputs.kl_only[:, None], mask & inputs.kl_only[:, None]
        logprobs = inputs.logprobs.where(mask, 0.0)
        ratio = self._ratio(logprobs - inputs.old_logprobs.where(mask, 0.0), mask)
        kl = self._kl(inputs.reference_logprobs.where(mask, 0.0) - logprobs)
        if self.kl_importance_weighted:
            kl = kl * ratio

        advantages = inputs.advantages.where(~inputs.kl_only, 0.0)[:, None]
        weight, mismatch_metrics = self._mismatch(inputs)
        token_loss = self._policy_term(ratio, advantages, logprobs) * weight + beta * kl
        loss = self._average(token_loss * policy_rows, policy_rows, totals)
        general = (kl * general_rows).sum() * (totals.world_size / max(totals.general_tokens, 1))
        loss = loss + beta * self.general_kl_weight * general

        metrics = {"kl": masked_mean(kl, policy_rows), "general_kl": masked_mean(kl, general_rows)}
        metrics |= self._ratio_metrics(ratio, advantages, policy_rows) | mismatch_metrics
        if inputs.entropies is not None:
            metrics["entropy"] = masked_mean(inputs.entropies, policy_rows)
        return LossOutput(loss, metrics)

    def _ratio(self, log_ratio: Tensor, mask: Tensor) -> Tensor:
        """(B, T) by token, (B, 1) by sequence; `log_ratio` (B, T) is 0 outside the mask."""
        if self.importance_level == "token":
            return log_ratio.exp()
        return (log_ratio.sum(-1) / mask.sum(-1).clamp(min=1)).exp()[:, None]

    def _kl(self, difference: Tensor) -> Tensor:
        if self.kl_estimator == "k1":
            return -difference
        if self.kl_estimator == "k2":
            return difference.square() / 2
        return difference.expm1() - difference

    def _policy_term(self, ratio: Tensor, advantages: Tensor, logprobs: Tensor) -> Tensor:
        if self.loss_type == "cispo":
            return -ratio.clamp(max=self.epsilon_high).detach() * advantages * logprobs
        clipped = ratio.clamp(1 - self.epsilon_low, 1 + self.epsilon_high)
        unclipped = ratio if self.delta is None else ratio.clamp(max=self.delta)
        return -torch.min(unclipped * advantages, clipped * advantages)

    def _average(self, token_loss: Tensor, policy_rows: Tensor, totals: StepTotals) -> Tensor:
        """The sum over micro-batches and the mean over ranks of this is the loss of the whole step."""
        completions, world = max(totals.completions, 1), totals.world_size
        if self.loss_type == "grpo":
            return (token_loss.sum(-1) / policy_rows.sum(-1).clamp(min=1)).sum() * (world / completions)
        if self.loss_type == "bnpo":
            local = totals.tokens if totals.local_tokens is None else totals.local_tokens
            return token_loss.sum() / max(local, 1)
        if self.loss_type == "dr_grpo":
            assert self.max_completion_length is not None
            return token_loss.sum() * (world / (completions * self.max_completion_length))
        return token_loss.sum() * (world / max(totals.tokens, 1))

    @torch.no_grad()
    def _mismatch(self, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
        """The importance weight of engine against trainer, (B, T), (B, 1) or (), and what it was taken from."""
        one = inputs.logprobs.new_ones(())
        if inputs.rollout_logprobs is None:
            if self.mismatch != "none":
                raise ValueError("the mismatch correction needs rollout_logprobs, and the rollout engine gave none")
            return one, {}
        mask = inputs.mask
        log_ratio = (inputs.old_logprobs - inputs.rollout_logprobs).where(mask, 0.0)
        by_token = log_ratio.exp()
        ratio = by_token if self.mismatch_level == "token" else log_ratio.sum(-1, keepdim=True).exp()
        outside = ratio > self.mismatch_cap
        weight = ratio.clamp(max=self.mismatch_cap)
        if self.mismatch == "mask":
            outside = outside | (ratio < 1 / self.mismatch_cap)
            weight = ratio.masked_fill(outside, 0.0)
        metrics = {
            "mismatch": masked_mean(by_token, mask),
            "mismatch_max": masked_max(by_token, mask),
            "mismatch_kl": masked_mean(log_ratio.expm1() - log_ratio, mask),
        }
        if self.mismatch == "none":
            return one, metrics
        return weight, metrics | {"mismatch_cut": masked_mean(outside.expand_as(mask).to(ratio.dtype), mask)}

    @torch.no_grad()
    def _ratio_metrics(self, ratio: Tensor, advantages: Tensor, policy_rows: Tensor) -> dict[str, Tensor]:
        counted = policy_rows if ratio.shape == policy_rows.shape else policy_rows.any(-1, keepdim=True)
        if self.loss_type == "cispo":
            low, high = torch.zeros_like(ratio), (ratio > self.epsilon_high) & (advantages > 0)
        else:
            low = (ratio < 1 - self.epsilon_low) & (advantages < 0)
            high = (ratio > 1 + self.epsilon_high) & (advantages > 0)
        return {
            "clip_low": masked_mean(low.to(ratio.dtype), counted),
            "clip_high": masked_mean(high.to(ratio.dtype), counted),
            "ratio": masked_mean(ratio, counted),
            "ratio_max": masked_max(ratio, counted),
        }
