import pytest
import torch

from qwen_lightning.rollout.grouped.nf4 import NF4Linear, Scratch
from tests.rollout.grouped.ahead_of_time import SHARED_MEMORY, resources
from tests.rollout.grouped.test_nf4 import layers, side_by_side

pytest.importorskip("triton", reason="torch for this platform comes without Triton")

CASES = {
    "one row": ((96,), 1, {"inputs": 128}),
    "three layers, no whole tiles": ((130, 32, 64), 5, {"inputs": 512}),
    "inputs in parts": ((40,), 17, {"inputs": 2048}),
    "more rows than a tile": ((200, 8), 150, {"inputs": 1024}),
    "with biases": ((64, 64), 3, {"inputs": 128, "bias": True}),
    "other codes, scales in fp32": ((64,), 3, {"inputs": 256, "kind": "fp4", "double": False}),
    "half precision": ((130, 64), 20, {"inputs": 1024, "dtype": torch.float16}),
}
# The interpreter has no products in bfloat16.
DEVICE_CASES = CASES | {"bfloat16": ((256, 64, 64), 70, {"inputs": 2048, "dtype": torch.bfloat16})}


def products(case: str, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Of the fused way, and of the layers."""
    outs, rows, kind = DEVICE_CASES[case]
    modules = layers(*outs, **kind, device=device)
    dtype = modules[0].compute_dtype
    linear = NF4Linear(modules, Scratch(torch.device(device), dtype))
    x = torch.randn(rows, kind["inputs"], generator=torch.Generator().manual_seed(1)).to(device, dtype)
    with torch.no_grad():
        return linear.ways["fused"](x), side_by_side(modules, x)


@pytest.mark.parametrize("case", CASES)
def test_fused_product_gives_what_the_layers_give(interpreter, case):
    result, expected = interpreter.submit(products, case).result()
    assert result.dtype == expected.dtype
    tolerance = 2e-5 if result.dtype == torch.float32 else 5e-3
    torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)


def test_without_triton_the_other_ways_are_left():
    linear = NF4Linear(layers(64), Scratch(torch.device("cpu"), torch.float32))
    assert list(linear.ways) == ["slices", "whole"]


@pytest.mark.parametrize("arch", [80, 89, 90])
@pytest.mark.parametrize("rows", [64, 128])
def test_kernel_compiles_without_spilling(arch, rows, tmp_path, monkeypatch):
    from qwen_lightning.rollout.grouped.triton_nf4 import INPUTS, OUTS, _schedule, product_kernel

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    types = {"x": "*bf16", "codes": "*fp32", "result": "*fp32", "rows": "odd"}
    types |= {f"packed_{layer}": "*u8" for layer in range(3)} | {f"scales_{layer}": "*fp32" for layer in range(3)}
    constants = {"ROWS": rows, "OUTS": OUTS, "INPUTS": INPUTS, "BLOCK": 64}
    programs, options = _schedule(rows)
    taken = resources(product_kernel, types, constants, arch, **options)
    assert taken.stack == 0
    assert taken.registers * options["num_warps"] * 32 * programs <= 65536
    assert taken.shared <= SHARED_MEMORY[arch]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; the interpreter runs the same cases")
@pytest.mark.parametrize("case", DEVICE_CASES)
def test_fused_product_on_the_device(case):
    result, expected = products(case, "cuda")
    tolerance = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 2e-2}[result.dtype]
    torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)
