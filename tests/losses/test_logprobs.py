"""Chunked log-probs against log_softmax of all logits."""

import pytest
import torch
from torch import nn
from torch.distributions import Categorical
from torch.utils.flop_counter import FlopCounterMode

from qwen_lightning.compilation import compiled
from qwen_lightning.losses import token_logprobs
from qwen_lightning.losses.logprobs import _compiled_statistics, _FrozenHead, _statistics

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")),
]


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


def heads() -> tuple[torch.Tensor, nn.Linear, nn.Linear]:
    """A weight, the same as a frozen layer, and as one that is trained."""
    weight = torch.randn(23, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    layers = [nn.Linear(8, 23, bias=False, dtype=torch.float64) for _ in range(2)]
    for layer in layers:
        with torch.no_grad():
            layer.weight.copy_(weight)
    return weight, layers[0].requires_grad_(False), layers[1]


def test_the_derivative_passes_gradcheck():
    weight, _, _ = heads()
    generator = torch.Generator().manual_seed(6)
    hidden = torch.randn(5, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(23, generator=generator, dtype=torch.float64)
    labels = torch.randint(23, (5,), generator=generator)
    for temperature in (1.0, 0.7):
        assert torch.autograd.gradcheck(
            lambda rows, t=temperature: _FrozenHead.apply(rows, weight, bias, labels, t, 2)[0], (hidden,)
        )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_frozen_head_gives_what_a_trained_one_gives(dtype, device):
    """A trained head is applied again in backward, which is autograd's own derivative."""
    _, frozen, trained = (each.to(device, dtype) for each in heads())
    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(23, (14,), generator=generator).to(device)
    hidden = (3 * torch.randn(14, 8, generator=generator, dtype=torch.float64)).to(device, dtype)
    upstream = torch.randn(14, generator=generator, dtype=torch.float64).to(device, dtype)
    found = []
    for head in (frozen, trained):
        leaf = hidden.clone().requires_grad_()
        logprobs, entropies = token_logprobs(leaf, head, labels, 0.8, chunk=5)
        (logprobs * upstream).sum().backward()
        found.append((logprobs.detach(), entropies, leaf.grad))
        assert not entropies.requires_grad
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    assert trained.weight.grad is not None
    with torch.no_grad():  # the reference's way, bit for bit that of the policy
        logprobs, entropies = token_logprobs(hidden, frozen, labels, 0.8, chunk=5)
    assert torch.equal(logprobs, found[0][0])
    assert torch.equal(entropies, found[0][1])


def test_the_head_is_not_applied_again_in_backward():
    _, frozen, trained = heads()
    labels = torch.arange(6)
    for head, products in ((frozen, (2, 0)), (trained, (1, 3))):
        leaf = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
        with FlopCounterMode(display=False) as forward:
            logprobs, _ = token_logprobs(leaf, head, labels)
        with FlopCounterMode(display=False) as backward:
            logprobs.sum().backward()
        one = 2 * 6 * 8 * 23
        assert (forward.get_total_flops() // one, backward.get_total_flops() // one) == products


def test_under_autocast_the_product_is_in_bf16():
    _, frozen, _ = (each.to(torch.float32) for each in heads())
    hidden = torch.randn(6, 8, generator=torch.Generator().manual_seed(8), requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logprobs, entropies = token_logprobs(hidden, frozen, torch.arange(6), chunk=4)
        expected = frozen(hidden.detach()).float().log_softmax(-1).diagonal()
    torch.testing.assert_close(logprobs, expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(logprobs, token_logprobs(hidden, frozen, torch.arange(6))[0], rtol=1e-4, atol=1e-4)
    assert logprobs.dtype == entropies.dtype == torch.float32
    logprobs.sum().backward()
    assert hidden.grad.dtype == torch.float32


def test_a_sure_token_has_its_small_slope_in_bf16():
    hidden = torch.tensor([[8.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.bfloat16)
    logprobs, _ = token_logprobs(hidden, weight, torch.tensor([0]))
    logprobs.sum().backward()
    other = 1 / (1 + 2.718281828**8)  # 3e-4, far below bf16's step at 1
    torch.testing.assert_close(hidden.grad.float(), torch.tensor([[other, -other]]), rtol=0.01, atol=0)


def test_the_statistics_are_one_graph():
    """What is compiled on CUDA has no break, for one chunk and for a shorter last one."""
    compiled = torch.compile(_statistics, backend="aot_eager", fullgraph=True)
    for rows in (6, 4):
        logits, labels = torch.randn(rows, 23), torch.arange(rows)
        for with_slopes in (True, False):
            for one, other in zip(
                compiled(logits, labels, 0.7, with_slopes), _statistics(logits, labels, 0.7, with_slopes), strict=True
            ):
                assert (one is None) == (other is None)
                if one is not None:
                    torch.testing.assert_close(one, other)


def test_a_run_compiles_few_graphs_and_never_falls_back():
    from torch._dynamo.testing import CompileCounterWithBackend
    from torch.autograd.graph import saved_tensors_hooks

    counter = CompileCounterWithBackend("aot_eager")
    statistics = _compiled_statistics(backend=counter)
    generator = torch.Generator().manual_seed(9)

    def compare(rows: int, temperature: float, slopes: bool) -> None:
        logits, labels = torch.randn(rows, 23, generator=generator), torch.randint(23, (rows,), generator=generator)
        divisor = torch.full((), temperature)
        found, expected = (each(logits, labels, divisor, slopes) for each in (statistics, _statistics))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)

    with torch.no_grad():
        for temperature in (1.0, 0.7, 0.9):
            for rows in (64, 17, 1, 0, 2, 3, 64):
                for slopes in (False, True):
                    compare(rows, temperature, slopes)
    assert counter.frame_count == 2
    with torch.inference_mode():
        for rows in (64, 17, 1, 0):
            compare(rows, 0.7, False)
    with torch.no_grad(), saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
        compare(64, 1.0, True)
    assert counter.frame_count <= 4


def test_beyond_a_limit_of_compilations_is_an_error_not_eager_code():
    from torch._dynamo.exc import FailOnRecompileLimitHit

    function = compiled(lambda x: x + 1, limit=9, backend="eager", dynamic=False)
    for size in range(2, 11):  # more than Dynamo's own limit
        assert function(torch.zeros(size)).sum() == size
    with pytest.raises(FailOnRecompileLimitHit):
        function(torch.zeros(100))
