"""Completion-only cross-entropy against torch's own, whole and split."""

import pytest
import torch
from torch.nn import functional

from qwen_lightning.losses import SFTLoss, StepTotals


def test_is_torchs_cross_entropy_over_the_tokens_of_the_step():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 9, 11, generator=generator, dtype=torch.float64)
    labels = torch.randint(11, (4, 9), generator=generator)
    mask = torch.rand(4, 9, generator=generator) < 0.5
    expected = functional.cross_entropy(logits[mask], labels[mask])
    logprobs = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1).masked_fill(~mask, -torch.inf)
    totals = StepTotals(completions=4, tokens=int(mask.sum()))
    parts = [SFTLoss()(logprobs[rows], mask[rows], totals) for rows in (slice(0, 1), slice(1, 4))]
    assert sum(part.loss.item() for part in parts) == pytest.approx(expected.item(), abs=1e-12)
    total, count = sum(part.metrics["nll"] for part in parts).tolist()
    assert total / count == pytest.approx(expected.item(), abs=1e-12)
    # Two ranks with unequal shares: DDP's mean gives the same.
    two = StepTotals(completions=4, tokens=int(mask.sum()), world_size=2)
    shares = [SFTLoss()(logprobs[rows], mask[rows], two).loss.item() for rows in (slice(0, 1), slice(1, 4))]
    assert sum(shares) / 2 == pytest.approx(expected.item(), abs=1e-12)


def test_padding_has_no_gradient_and_no_tokens_are_no_fault():
    logprobs = torch.full((2, 3), -1.0, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    output = SFTLoss()(logprobs, mask, StepTotals(2, 2), entropies=torch.ones(2, 3))
    output.loss.backward()
    assert logprobs.grad.tolist() == [[-0.5, 0, -0.5], [0, 0, 0]]
    assert output.metrics["entropy"].tolist() == [2, 2]
    empty = SFTLoss()(logprobs, torch.zeros(2, 3, dtype=torch.bool), StepTotals(0, 0))
    assert empty.loss.item() == 0
    assert empty.loss.requires_grad
    with pytest.raises(ValueError, match="mask is"):
        SFTLoss()(logprobs, mask[:1], StepTotals(2, 2))
