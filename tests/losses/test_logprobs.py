"""Chunked log-probs against log_softmax of all logits."""

import pytest
import torch
from torch import nn
from torch.distributions import Categorical

from qwen_lightning.losses import token_logprobs


@pytest.mark.parametrize("chunk", [1, 5, 7, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_agrees_with_log_softmax(chunk, temperature):
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(14, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(23, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(23, (14,), generator=generator)
    upstream = torch.randn(14, generator=generator, dtype=torch.float64)

    plain = hidden.clone().requires_grad_()
    logits = plain @ weight.T / temperature
    expected = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    (expected * upstream).sum().backward()

    chunked = hidden.clone().requires_grad_()
    logprobs, entropies = token_logprobs(chunked, weight, labels, temperature, chunk)
    (logprobs * upstream).sum().backward()
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(entropies, Categorical(logits=logits.detach()).entropy(), rtol=0, atol=1e-12)
    torch.testing.assert_close(chunked.grad, plain.grad, rtol=0, atol=1e-12)
    assert not entropies.requires_grad


def test_a_module_head_in_bf16_gives_fp32_and_no_full_logits_are_saved():
    generator = torch.Generator().manual_seed(4)
    head = nn.Linear(16, 300, dtype=torch.bfloat16).requires_grad_(False)
    hidden = torch.randn(60, 16, generator=generator).bfloat16().requires_grad_()
    labels = torch.randint(300, (60,), generator=generator)
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        logprobs, entropies = token_logprobs(hidden, head, labels, chunk=20)
    assert max(saved, default=0) < 20 * 300
    assert logprobs.dtype == entropies.dtype == torch.float32
    expected = head(hidden).float().log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    torch.testing.assert_close(logprobs, expected)
    logprobs.sum().backward()
    assert hidden.grad.abs().sum() > 0
    assert head.weight.grad is None


def test_a_masked_vocabulary_and_no_rows():
    weight = torch.eye(4)
    weight_bias = nn.Linear(4, 4)
    with torch.no_grad():
        weight_bias.weight.copy_(weight)
        weight_bias.bias.copy_(torch.tensor([0.0, 0.0, -torch.inf, -torch.inf]))
    logprobs, entropies = token_logprobs(torch.zeros(1, 4), weight_bias, torch.tensor([0]))
    assert logprobs.item() == pytest.approx(-0.6931472)
    assert entropies.item() == pytest.approx(0.6931472)
    hidden = torch.zeros(0, 4, requires_grad=True)
    logprobs, _ = token_logprobs(hidden, weight, torch.zeros(0, dtype=torch.long))
    assert logprobs.shape == (0,)
    assert logprobs.requires_grad


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="labels"):
        token_logprobs(torch.zeros(3, 4), torch.zeros(5, 4), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="temperature"):
        token_logprobs(torch.zeros(3, 4), torch.zeros(5, 4), torch.zeros(3, dtype=torch.long), temperature=0.0)
