"""Every row is sampled by its own settings and its own numbers."""

from __future__ import annotations

from random import Random

import pytest
import torch

from qwen_lightning.serving.engine.sampling import sample
from qwen_lightning.serving.generation import Sampling

DRAWS = 20_000


def counts(logits: torch.Tensor, settings: Sampling) -> torch.Tensor:
    """Share of each token among many draws."""
    random = Random(0)
    tokens = sample(logits.expand(DRAWS, -1), [settings] * DRAWS, [random.random() for _ in range(DRAWS)])
    return torch.bincount(torch.tensor([token.id for token in tokens]), minlength=len(logits)) / DRAWS


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_distribution(temperature: float) -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 1.0, -5.0])
    expected = torch.softmax(logits / temperature, -1)
    torch.testing.assert_close(counts(logits, Sampling(temperature=temperature)), expected, rtol=0, atol=0.015)


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    probabilities = torch.tensor([0.1, 0.4, 0.2, 0.3])
    found = counts(probabilities.log(), Sampling(temperature=1.0, top_p=0.65))
    torch.testing.assert_close(found, torch.tensor([0, 4 / 7, 0, 3 / 7]), rtol=0, atol=0.015)
    assert counts(probabilities.log(), Sampling(temperature=1.0, top_p=0.01))[1] == 1
    found = counts(probabilities.log(), Sampling(temperature=1.0, top_p=0.95))
    torch.testing.assert_close(found, probabilities, rtol=0, atol=0.015)


def test_rows_know_nothing_of_each_other() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 50) * 3
    settings = [
        Sampling(),
        Sampling(temperature=1.0),
        Sampling(temperature=0.7, top_p=0.5),
        Sampling(temperature=5.0, top_logprobs=3),
        Sampling(temperature=1e-30),
        Sampling(temperature=1.0, top_p=0.9, top_logprobs=20),
    ]
    uniforms = [0.1, 0.9, 0.5, 0.999999, 0.3, 0.0]
    together = sample(logits, settings, uniforms)
    for row, token in enumerate(together):
        assert sample(logits[row : row + 1], settings[row : row + 1], uniforms[row : row + 1]) == [token]
    assert [len(token.top_logprobs) for token in together] == [0, 0, 0, 3, 0, 20]
    assert together[0].id == logits[0].argmax()
    assert together[4].id == logits[4].argmax()  # nearly greedy
    logprobs = logits.log_softmax(-1)
    for row, token in enumerate(together):
        assert token.logprob == pytest.approx(float(logprobs[row, token.id]), abs=1e-5)


def test_the_ends_of_the_random_numbers() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 1.0, float("-inf")]]).repeat(2, 1)
    settings = [Sampling(temperature=1.0)] * 2
    # No token without probability, not even at a number that rounds to 1.
    assert [token.id for token in sample(logits, settings, [0.0, 1.0])] == [1, 2]
