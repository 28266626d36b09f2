"""Drawing tokens."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from qwen_lightning.rollout.grouped.sampling import draw


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    torch.manual_seed(0)
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0, -3.0])
    ids, logprobs = draw(logits.expand(20000, -1), temperature)
    expected = torch.log_softmax(logits / temperature, -1)
    torch.testing.assert_close(logprobs, expected[ids])
    assert chisquare(torch.bincount(ids, minlength=5), 20000 * expected.double().softmax(-1)).pvalue > 0.001


def test_greedy() -> None:
    ids, logprobs = draw(torch.tensor([[0.0, 3.0, 1.0]], dtype=torch.bfloat16), 0.0)
    assert ids.tolist() == [1]
    assert logprobs.dtype == torch.float32
    torch.testing.assert_close(logprobs, torch.log_softmax(torch.tensor([0.0, 3.0, 1.0]), -1)[1:2])
