import itertools

import pytest
import torch
from bitsandbytes.functional import _convert_weight_packed_for_cpu
from bitsandbytes.nn import Linear4bit
from torch import Tensor

from qwen_lightning.errors import ConfigError
from qwen_lightning.rollout.grouped.nf4 import NF4Linear, Scratch, fastest

CPU = torch.device("cpu")


def layers(
    *outs: int,
    inputs: int = 128,
    bias: bool = False,
    dtype: torch.dtype = torch.float32,
    double: bool = True,
    kind: str = "nf4",
    device: str = "cpu",
) -> list[Linear4bit]:
    torch.manual_seed(sum(outs))
    made = [
        Linear4bit(inputs, out, bias=bias, compute_dtype=dtype, compress_statistics=double, quant_type=kind)
        for out in outs
    ]
    return [layer.to(dtype).to(device) for layer in made]  # quantised on the way


def side_by_side(modules: list[Linear4bit], x: Tensor) -> Tensor:
    with torch.no_grad():  # in training mode: on some CPUs bitsandbytes repacks a layer that is called in evaluation
        return torch.cat([module.train()(x) for module in modules], -1)


@pytest.mark.parametrize("rows_in_scratch", [1000, 50, 1])
@pytest.mark.parametrize("kind", [{}, {"bias": True}, {"double": False}, {"kind": "fp4"}, {"dtype": torch.bfloat16}])
def test_every_way_gives_what_the_layers_give(kind, rows_in_scratch):
    modules = layers(96, 32, 65, **kind)
    dtype = modules[0].compute_dtype
    linear = NF4Linear(modules, Scratch(CPU, dtype, rows_in_scratch * 128 * dtype.itemsize))
    x = torch.randn(5, 128, dtype=dtype)
    expected = side_by_side(modules, x)
    # A slice changes the order of no sum; bf16 rounds once more where a layer has a bias.
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    with torch.no_grad():
        for compute in (linear, *linear.ways.values()):
            torch.testing.assert_close(compute(x), expected, rtol=0, atol=tolerance)


def test_linears_share_a_scratch():
    scratch = Scratch(CPU, torch.float32, 24 * 128 * 4)
    first, second = layers(64), layers(48, 16, inputs=64)
    linears = NF4Linear(first, scratch), NF4Linear(second, scratch)
    for modules, linear in itertools.chain(*[zip((first, second), linears, strict=True)] * 2):
        x = torch.randn(3, linear.in_features)
        torch.testing.assert_close(linear(x), side_by_side(modules, x), rtol=0, atol=1e-5)


def test_input_of_another_dtype_is_computed_in_the_scratchs():
    modules = layers(64, dtype=torch.bfloat16)
    linear = NF4Linear(modules, Scratch(CPU, torch.bfloat16))
    x = torch.randn(3, 128)
    result = linear(x)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, side_by_side(modules, x), rtol=0, atol=2e-2)


def test_quickest_way_is_found():
    work = torch.randn(100, 100)

    def slow() -> None:
        for _ in range(5):
            torch.linalg.matrix_exp(work)

    assert fastest({"slow": slow, "quick": lambda: None}, CPU) == "quick"
    linear = NF4Linear(layers(64), Scratch(CPU, torch.float32))
    assert linear.measure(torch.randn(2, 128)) in linear.ways


def test_a_choice_is_kept_for_a_shape(monkeypatch):
    scratch = Scratch(CPU, torch.float32)
    modules = layers(64)
    linear, peer = NF4Linear(modules, scratch), NF4Linear(layers(64), scratch)
    other = NF4Linear(layers(32), scratch)
    assert scratch.peers(linear) == [linear, peer]
    assert scratch.peers(other) == [other]
    x = torch.randn(5, 128)
    monkeypatch.setitem(Scratch.choices, linear.key(8), "whole")
    torch.testing.assert_close(peer(x), peer.as_whole(x), rtol=0, atol=0)
    torch.testing.assert_close(linear(x), side_by_side(modules, x), rtol=0, atol=1e-5)


def test_layers_that_do_not_fit_are_refused():
    scratch = Scratch(CPU, torch.float32, 4 * 128)
    assert NF4Linear.takes(layers(64, 32))
    assert not NF4Linear.takes([*layers(64), torch.nn.Linear(128, 64)])
    assert not NF4Linear.takes(layers(64, inputs=96))
    with pytest.raises(ConfigError, match="not quantised yet"):
        NF4Linear([Linear4bit(64, 64, device="meta")], scratch)
    with pytest.raises(ConfigError, match="equally many features"):
        NF4Linear(layers(64) + layers(64, inputs=64), scratch)
    with pytest.raises(ConfigError, match="no whole blocks of 64"):
        NF4Linear(layers(64, inputs=96), scratch)
    with pytest.raises(ConfigError, match="holds no 256 of a row"):
        NF4Linear(layers(64, inputs=256), scratch)
    (repacked,) = layers(64)
    repacked.weight.data, _ = _convert_weight_packed_for_cpu(repacked.weight.data, repacked.weight.quant_state)
    assert not NF4Linear.takes([repacked])
    with pytest.raises(ConfigError, match="repacked"):
        NF4Linear([repacked], scratch)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; the same logic runs on the CPU above")
def test_device_measures_once_and_serves_a_graph():
    modules = layers(1024, 256, 256, inputs=1024, dtype=torch.bfloat16, device="cuda")
    scratch = Scratch(torch.device("cuda"), torch.bfloat16, 2**20)
    linear = NF4Linear(modules, scratch)
    x = torch.randn(48, 1024, dtype=torch.bfloat16, device="cuda")
    expected = side_by_side(modules, x)
    with torch.no_grad():
        for compute in (linear, *linear.ways.values()):
            torch.testing.assert_close(compute(x), expected, rtol=1e-2, atol=2e-2)
        assert linear.key(64) in Scratch.choices
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = linear(x)
        x.neg_()
        graph.replay()
    torch.testing.assert_close(result, -expected, rtol=1e-2, atol=2e-2)
