"""Attention of a decode step in Triton: a prompt's keys and values are read once for all completions of its group.

Importing this needs Triton, which comes with torch for CUDA; `TRITON_INTERPRET=1` runs the kernels on a CPU.

All lengths are read on the device and every shape follows from the tensors' shapes, so that one CUDA graph serves all
steps of a batch. Two kernels: the first attends to the prompts, split over several programs where there are few of
them (flash-decoding: https://pytorch.org/blog/flash-decoding/) and leaves a normalised result and the logarithm (to
base 2) of its sum of exponentials; the second attends to the completions and combines the parts.
"""

from __future__ import annotations

import functools
import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from qwen_lightning.errors import ConfigError

# A program's block of keys. At head size 128 in bf16 and 32 queries, an H100's multiprocessor holds three programs for
# the prompts or five for the completions (168 and 86 registers a thread, 43 and 38 kB of shared memory when compiled
# for sm_90), each with two blocks of keys and values under way: 96 kB and more, where about 20 kB hide the memory's
# latency. Shared memory stays under the 99 kB of sm_86 and sm_89.
BLOCK_BYTES, STAGES, WARPS = 8192, 3, 4
PROMPT_PROGRAMS = 3  # a multiprocessor
MOST_SPLITS = 16
MOST_QUERIES = 64  # a tile of a group's queries; a larger group goes through its prompt again


@triton.jit
def attend(
    q: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    begin: tl.tensor,
    end: tl.tensor,
    scale: tl.tensor,
    SIZE: tl.constexpr,
    TOKEN: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Softmax over the keys begin … end - 1 while they come in: the peak, the sum of exponentials, the weighted sum."""
    peak = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    summed = tl.zeros([QUERIES, SIZE], tl.float32)
    place = tl.arange(0, BLOCK)[:, None] * TOKEN + tl.arange(0, SIZE)
    for block in range(begin, end, BLOCK):
        seen = tl.arange(0, BLOCK) < end - block
        moved = tl.cast(block, tl.int64) * TOKEN
        k = tl.load(keys + moved + place, mask=seen[:, None], other=0.0)
        v = tl.load(values + moved + place, mask=seen[:, None], other=0.0)
        # "ieee" concerns fp32 alone: no TF32.
        score = tl.where(seen, tl.dot(q, k.T, input_precision="ieee") * scale, float("-inf"))
        higher = tl.maximum(peak, tl.max(score, 1))  # never -inf: a block that is visited has a key
        weight = tl.exp2(score - higher[:, None])
        shrink = tl.exp2(peak - higher)
        total = total * shrink + tl.sum(weight, 1)
        summed = tl.dot(weight.to(v.dtype), v, summed * shrink[:, None], input_precision="ieee")
        peak = higher
    return peak, total, summed


@triton.jit
def prompt_kernel(
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    lengths: tl.tensor,
    starts: tl.tensor,
    partial: tl.tensor,
    log_sums: tl.tensor,
    scale: tl.tensor,
    query_row: tl.tensor,
    query_head: tl.tensor,
    key_group: tl.tensor,
    key_head: tl.tensor,
    HEADS: tl.constexpr,
    REPEAT: tl.constexpr,
    SIZE: tl.constexpr,
    TOKEN: tl.constexpr,
    SPLITS: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A part of a prompt, for one key head and all queries of the group.

    Leaves `partial` (rows, HEADS, SPLITS, SIZE) and `log_sums` (rows, HEADS, SPLITS), -inf where a part is empty.
    """
    split = tl.program_id(0)
    head = tl.program_id(1)
    group = tl.program_id(2)
    first_row = tl.load(starts + group)
    queries = (tl.load(starts + group + 1) - first_row) * REPEAT
    length = tl.load(lengths + group)
    # Parts of whole blocks, even over the prompt's own length.
    span = tl.cdiv(tl.cdiv(length, SPLITS), BLOCK) * BLOCK
    begin = split * span
    end = tl.minimum(begin + span, length)

    column = tl.arange(0, SIZE)
    base = group.to(tl.int64) * key_group + head.to(tl.int64) * key_head
    for tile in range(0, queries, QUERIES):
        index = tile + tl.arange(0, QUERIES)
        live = index < queries
        row = (first_row + index // REPEAT).to(tl.int64)
        query_index = head * REPEAT + index % REPEAT
        place = row * query_row + query_index * query_head
        q = tl.load(query + place[:, None] + column, mask=live[:, None], other=0.0)
        peak, total, summed = attend(q, keys + base, values + base, begin, end, scale, SIZE, TOKEN, QUERIES, BLOCK)
        slot = (row * HEADS + query_index) * SPLITS + split
        if begin < end:
            tl.store(partial + slot[:, None] * SIZE + column, summed / total[:, None], mask=live[:, None])
            tl.store(log_sums + slot, peak + tl.log2(total), mask=live)
        else:
            tl.store(log_sums + slot, peak, mask=live)


@triton.jit
def own_kernel(
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    decoded: tl.tensor,
    starts: tl.tensor,
    partial: tl.tensor,
    log_sums: tl.tensor,
    output: tl.tensor,
    groups: tl.tensor,
    scale: tl.tensor,
    query_row: tl.tensor,
    query_head: tl.tensor,
    key_row: tl.tensor,
    key_head: tl.tensor,
    HEADS: tl.constexpr,
    REPEAT: tl.constexpr,
    SIZE: tl.constexpr,
    TOKEN: tl.constexpr,
    SPLITS: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A completion's own keys, for one key head of one row; then the combination with the parts of its prompt."""
    head = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64)
    column = tl.arange(0, SIZE)
    index = tl.arange(0, QUERIES)
    live = index < REPEAT
    query_index = head * REPEAT + index
    result = output + (row * HEADS + query_index)[:, None] * SIZE + column
    if row >= tl.load(starts + groups):  # idle
        tl.store(result, tl.zeros([QUERIES, SIZE], output.dtype.element_ty), mask=live[:, None])
        return
    base = row * key_row + head.to(tl.int64) * key_head
    place = row * query_row + query_index * query_head
    q = tl.load(query + place[:, None] + column, mask=live[:, None], other=0.0)
    end = tl.load(decoded) + 1
    peak, total, summed = attend(q, keys + base, values + base, 0, end, scale, SIZE, TOKEN, QUERIES, BLOCK)

    slot = (row * HEADS + query_index) * SPLITS
    split = tl.arange(0, SPLITS)
    of_parts = tl.load(log_sums + slot[:, None] + split, mask=live[:, None], other=float("-inf"))
    higher = tl.maximum(peak, tl.max(of_parts, 1))
    shrink = tl.exp2(peak - higher)
    total = total * shrink
    summed = summed * shrink[:, None]
    for part in tl.static_range(SPLITS):  # unrolled, so that the loads go out together
        log_sum = tl.load(log_sums + slot + part, mask=live, other=float("-inf"))
        weight = tl.exp2(log_sum - higher)
        filled = log_sum > float("-inf")  # an empty part was never written
        of_part = tl.load(partial + (slot + part)[:, None] * SIZE + column, mask=filled[:, None], other=0.0)
        total += weight
        summed += weight[:, None] * of_part
    tl.store(result, (summed / total[:, None]).to(output.dtype.element_ty), mask=live[:, None])


def grouped_attention(
    query: Tensor,
    prompt_keys: Tensor,
    prompt_values: Tensor,
    prompt_lengths: Tensor,
    keys: Tensor,
    values: Tensor,
    decoded: Tensor,
    starts: Tensor,
    scale: float,
) -> Tensor:
    """One token of every row attends to its group's prompt and to its own completion.

    The first call for a new kind of shapes compiles; make it outside of a CUDA graph's capture.

    Args:
        query: (rows, heads, head size), rows in the order of their groups; bf16, fp16 or fp32.
        prompt_keys: (groups, key heads, prompt room, head size), padded on the right.
        prompt_values: As `prompt_keys`, with its strides.
        prompt_lengths: (groups,) int32.
        keys: (at least rows, key heads, completion room, head size), of the completions.
        values: As `keys`, with its strides.
        decoded: (1,) int32: a completion's keys 0 to `decoded`, both included, are seen; less than its room.
        starts: (groups + 1,) int32: rows `starts[g]` to `starts[g + 1] - 1` are of group g; later rows are idle and
            come out as zeros.
        scale: Multiplies the scores.

    Returns:
        (rows, heads, head size), in the query's dtype.

    Raises:
        ConfigError: The head size is no power of two of 16 or more, or heads, rows, groups or strides don't fit.
    """
    rows, heads, size = query.shape
    groups, key_heads, room, _ = prompt_keys.shape
    _check(query, prompt_keys, prompt_values, prompt_lengths, keys, values, starts)
    repeat = heads // key_heads
    # Late in a batch most groups are empty, and those that are left may be as large as they were.
    together = max(triton.cdiv(rows, groups), min(rows, 8))
    queries = _between(16, triton.next_power_of_2(together * repeat), MOST_QUERIES)
    block = _between(16, BLOCK_BYTES // (size * query.element_size()), 64)
    splits = _splits(_processors(query.device), min(groups, rows) * key_heads, triton.cdiv(room, block))
    partial = query.new_empty((rows, heads, splits, size), dtype=torch.float32)
    log_sums = query.new_empty((rows, heads, splits), dtype=torch.float32)
    output = query.new_empty((rows, heads, size))
    shared = {"HEADS": heads, "REPEAT": repeat, "SIZE": size, "SPLITS": splits, "BLOCK": block}
    options = {"num_warps": WARPS, "num_stages": STAGES}
    scale = scale * math.log2(math.e)  # the kernels take powers of two
    prompt_kernel[(splits, key_heads, groups)](
        query,
        prompt_keys,
        prompt_values,
        prompt_lengths,
        starts,
        partial,
        log_sums,
        scale,
        *query.stride()[:2],
        *prompt_keys.stride()[:2],
        **shared,
        TOKEN=prompt_keys.stride(2),
        QUERIES=queries,
        **options,
    )
    own_kernel[(key_heads, rows)](
        query,
        keys,
        values,
        decoded,
        starts,
        partial,
        log_sums,
        output,
        groups,
        scale,
        *query.stride()[:2],
        *keys.stride()[:2],
        **shared,
        TOKEN=keys.stride(2),
        QUERIES=max(16, triton.next_power_of_2(repeat)),
        **options,
    )
    return output


def _check(
    query: Tensor,
    prompt_keys: Tensor,
    prompt_values: Tensor,
    prompt_lengths: Tensor,
    keys: Tensor,
    values: Tensor,
    starts: Tensor,
) -> None:
    rows, heads, size = query.shape
    groups, key_heads = prompt_keys.shape[:2]
    if size < 16 or size & (size - 1):
        raise ConfigError(f"grouped attention in Triton takes head sizes 16, 32, 64, 128 …, not {size}")
    if heads % key_heads or keys.shape[1] != key_heads or keys.shape[3] != size or prompt_keys.shape[3] != size:
        raise ConfigError(
            f"queries {tuple(query.shape)} do not fit keys {tuple(keys.shape)} and prompts {tuple(prompt_keys.shape)}"
        )
    if keys.shape[0] < rows or prompt_lengths.shape != (groups,) or starts.shape != (groups + 1,):
        raise ConfigError(
            f"{rows} rows in {groups} groups, but keys of {keys.shape[0]} rows, {tuple(prompt_lengths.shape)} lengths "
            f"and {tuple(starts.shape)} starts"
        )
    if prompt_keys.stride() != prompt_values.stride() or keys.stride() != values.stride():
        raise ConfigError("keys and values must have the same strides")
    if any(tensor.stride(-1) != 1 for tensor in (query, prompt_keys, keys)):
        raise ConfigError("the head's dimension must be contiguous in queries, keys and values")
    if len({tensor.dtype for tensor in (query, prompt_keys, prompt_values, keys, values)}) > 1:
        raise ConfigError("queries, keys and values must have the same dtype")


def _splits(processors: int, prompts: int, blocks: int) -> int:
    """Parts of a prompt, a power of two (a kernel is compiled for each), so that the card is filled once."""
    wanted = min(processors * PROMPT_PROGRAMS // prompts, blocks, MOST_SPLITS)
    return 1 << max(wanted, 1).bit_length() - 1


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))


@functools.cache
def _processors(device: torch.device) -> int:
    # A CPU interprets one program after the other: few, but enough that prompts are split as on a GPU.
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 8
