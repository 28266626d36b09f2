"""A product with 4-bit weights in Triton: they are dequantised between memory and the tensor cores, and never stored.

Importing this needs Triton, which comes with torch for CUDA; `TRITON_INTERPRET=1` runs the kernels on a CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

# A program's tile: a step takes 64 bytes of each of 128 rows of weights.
OUTS, INPUTS = 128, 128
MOST_ROWS = 128  # more rows go through the weights again
LEAST_STEPS = 4  # a program, of its inputs
SUMMED = 1024


@triton.jit(do_not_specialize=["rows"])
def product_kernel(
    x: tl.tensor,
    packed_0: tl.tensor,
    packed_1: tl.tensor,
    packed_2: tl.tensor,
    scales_0: tl.tensor,
    scales_1: tl.tensor,
    scales_2: tl.tensor,
    codes: tl.tensor,
    result: tl.tensor,
    rows: tl.tensor,
    inputs: tl.tensor,
    outs_0: tl.tensor,
    outs_1: tl.tensor,
    outs_2: tl.tensor,
    x_row: tl.tensor,
    ROWS: tl.constexpr,
    OUTS: tl.constexpr,
    INPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A part of the inputs' products with a tile of one of three layers' outputs: result[split, row, out]."""
    tile = tl.program_id(0)
    split = tl.program_id(1)
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    tiles_0 = tl.cdiv(outs_0, OUTS)
    tiles_1 = tl.cdiv(outs_1, OUTS)
    if tile < tiles_0:
        packed, scales, outs, first = packed_0, scales_0, outs_0, 0
    elif tile < tiles_0 + tiles_1:
        packed, scales, outs, first = packed_1, scales_1, outs_1, outs_0
        tile -= tiles_0
    else:
        packed, scales, outs, first = packed_2, scales_2, outs_2, outs_0 + outs_1
        tile -= tiles_0 + tiles_1
    steps = inputs // INPUTS
    share = tl.cdiv(steps, tl.num_programs(1))
    begin = split * share
    end = tl.minimum(begin + share, steps)

    out = tile * OUTS + tl.arange(0, OUTS)
    real = tl.minimum(out, outs - 1)  # beyond the last row of weights: read again, and not kept
    byte = real[:, None] * (inputs // 2) + tl.arange(0, INPUTS // 2)
    scale_at = real[:, None] * (inputs // BLOCK) + tl.arange(0, INPUTS // BLOCK)
    value_at = row[None, :] * x_row + tl.arange(0, INPUTS)[:, None]
    product = tl.zeros([OUTS, ROWS], tl.float32)
    # A gather within a row is a shuffle within a warp; from memory it would go through shared memory, four bytes each.
    table = tl.broadcast_to(tl.load(codes + tl.arange(0, 16))[None, :], [OUTS, 16])
    for step in range(begin, end):
        pair = tl.load(packed + step * (INPUTS // 2) + byte)
        scale = tl.load(scales + step * (INPUTS // BLOCK) + scale_at)
        value = tl.load(x + step * INPUTS + value_at, mask=row[None, :] < rows, other=0.0)
        # The first of two values is in the high bits.
        high, low = (pair >> 4).to(tl.int32), (pair & 15).to(tl.int32)
        code = tl.join(tl.gather(table, high, 1), tl.gather(table, low, 1))
        weight = tl.reshape(code, [OUTS, INPUTS // BLOCK, BLOCK]) * scale[:, :, None]
        # Weights on the left: they fill the tensor cores' 64 rows, whatever the batch.
        product = tl.dot(tl.reshape(weight, [OUTS, INPUTS]).to(value.dtype), value, product, input_precision="ieee")
    total = outs_0 + outs_1 + outs_2
    place = (split * rows + row).to(tl.int64)[None, :] * total + (first + out)[:, None]
    kept = (out < outs)[:, None] & (row < rows)[None, :]
    tl.store(result + place, product.to(result.dtype.element_ty), mask=kept)


@triton.jit
def sum_kernel(parts: tl.tensor, result: tl.tensor, count: tl.tensor, splits: tl.tensor, SUMMED: tl.constexpr) -> None:
    """Sum over the first dimension of (splits, count), always in the same order."""
    place = tl.program_id(0) * SUMMED + tl.arange(0, SUMMED)
    inside = place < count
    total = tl.zeros([SUMMED], tl.float32)
    for split in range(splits):
        total += tl.load(parts + tl.cast(split, tl.int64) * count + place, mask=inside, other=0.0)
    tl.store(result + place, total.to(result.dtype.element_ty), mask=inside)


def nf4_product(
    x: Tensor, packed: Sequence[Tensor], scales: Sequence[Tensor], codes: Tensor, outs: Sequence[int], block: int
) -> Tensor:
    """Product with up to three layers' 4-bit weights side by side, as rounded to the input's dtype.

    The first call for a new kind of shapes compiles; make it outside of a CUDA graph's capture.

    Args:
        x: (rows, in); `in` a multiple of 128 and of `block`.
        packed: Of each layer (out · in / 2,) uint8, the first of two values in the high bits.
        scales: Of each layer (out · in / block,) fp32.
        codes: (16,) fp32, the values that 4 bits stand for.
        outs: Outputs of each layer.
        block: Weights of a scale; divides 128.

    Returns:
        (rows, sum of outs), in the input's dtype.
    """
    rows, inputs = x.shape
    x = x.contiguous()
    tile = min(max(16, triton.next_power_of_2(rows)), MOST_ROWS)
    programs, options = _schedule(tile)
    tiles, row_tiles = sum(triton.cdiv(out, OUTS) for out in outs), triton.cdiv(rows, tile)
    splits = _splits(_processors(x.device) * programs // (tiles * row_tiles), inputs // INPUTS)
    spare = 3 - len(outs)
    result = x.new_empty(rows, sum(outs))
    parts = result if splits == 1 else x.new_empty((splits, *result.shape), dtype=torch.float32)
    product_kernel[(tiles, splits, row_tiles)](
        x,
        *packed,
        *[packed[0]] * spare,
        *scales,
        *[scales[0]] * spare,
        codes,
        parts,
        rows,
        inputs,
        *outs,
        *[0] * spare,
        x.stride(0),
        ROWS=tile,
        OUTS=OUTS,
        INPUTS=INPUTS,
        BLOCK=block,
        **options,
    )
    if splits > 1:
        sum_kernel[(triton.cdiv(result.numel(), SUMMED),)](parts, result, result.numel(), splits, SUMMED=SUMMED)
    return result


def _schedule(rows: int) -> tuple[int, dict[str, int]]:
    """Programs that a multiprocessor holds at once for a tile of these rows, and the compiler's options for that."""
    # Either way 512 threads a multiprocessor, 128 registers each.
    if rows <= 64:
        return 2, {"num_warps": 8, "num_stages": 3, "maxnreg": 128}
    return 1, {"num_warps": 16, "num_stages": 2}


def _splits(wanted: int, steps: int) -> int:
    """Parts of the inputs, none of them empty, each of `LEAST_STEPS` steps or more."""
    most = max(1, min(wanted, steps // LEAST_STEPS))
    return triton.cdiv(steps, triton.cdiv(steps, most))


@functools.cache
def _processors(device: torch.device) -> int:
    # A CPU interprets one program after the other: few, but enough that inputs are split as on a GPU.
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 8
