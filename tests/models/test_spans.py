"""Spans against a definition in words, and the block mask against the dense one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.utils._python_dispatch import TorchDispatchMode

from qwen_lightning.models.spans import Spans

Layout = list[tuple[int, list[int]]]  # groups of a row: a prompt's length, its completions' lengths


def laid_out(rows: list[Layout], length: int) -> tuple[Spans, Tensor]:
    """Spans of the rows, and by brute force which of a row's tokens a token sees."""
    parts = [torch.zeros(len(rows), length, dtype=torch.long) for _ in range(3)]
    seen = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)
    parts[2][:] = torch.arange(length)
    for row, groups in enumerate(rows):
        cursor = 0
        for prompt, completions in groups:
            begin, end = cursor, cursor + prompt
            for query in range(begin, end):
                parts[2][row, query] = begin
                seen[row, query, begin : query + 1] = True
            cursor = end
            for size in completions:
                for query in range(cursor, cursor + size):
                    for part, value in zip(parts, (begin, end, cursor), strict=True):
                        part[row, query] = value
                    seen[row, query, begin:end] = True
                    seen[row, query, cursor : query + 1] = True
                cursor += size
        assert cursor <= length
    return Spans(*parts), seen[:, None]


def drawn(seed: int, rows: int, room: int) -> list[Layout]:
    """Ragged groups and documents that fill up to `room` tokens a row."""
    generator = torch.Generator().manual_seed(seed)

    def pick(least: int, most: int) -> int:
        return int(torch.randint(least, most + 1, (1,), generator=generator))

    found: list[Layout] = []
    for _ in range(rows):
        layout, left = [], room - pick(0, room // 4)
        while left > 2:
            prompt = pick(1, max(1, left * 2 // 3))
            left -= prompt
            completions = []
            for _ in range(pick(0, 4)):
                if left > 0:
                    completions.append(pick(1, max(1, left // 3)))
                    left -= completions[-1]
            layout.append((prompt, completions))
        found.append(layout)
    return found


CASES = [
    pytest.param([[(300, [40, 90, 1]), (128, [])]], 640, id="one row, several groups"),
    pytest.param([[(384, [256])], [(1, [1, 1, 1])]], 700, id="full blocks, and a row that is padding almost whole"),
    pytest.param([[(128, [128, 128])]], 384, id="on the blocks' edges"),
    *(pytest.param(drawn(seed, 2, 500), 500 + 37 * seed, id=f"ragged {seed}") for seed in range(4)),
]


@pytest.mark.parametrize(("rows", "length"), CASES)
def test_dense_is_what_the_layout_says(rows: list[Layout], length: int) -> None:
    spans, seen = laid_out(rows, length)
    assert spans.shape == (len(rows), length)
    assert torch.equal(spans.dense(), seen)


def blocks_of(seen: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(rows, 1, blocks, blocks): which blocks hold any visible pair, and which hold nothing else."""
    extra = -seen.shape[-1] % size
    seen = functional.pad(seen, (0, extra, 0, extra))
    tiles = seen.unflatten(-1, (-1, size)).unflatten(-3, (-1, size)).transpose(-3, -2)
    return tiles.flatten(-2).any(-1), tiles.flatten(-2).all(-1)


def marked(count: Tensor | None, indices: Tensor | None) -> Tensor:
    """(rows, 1, blocks, blocks) bool, from a block mask's own lists."""
    assert count is not None
    assert indices is not None
    found = torch.zeros(indices.shape, dtype=torch.bool)
    for place in torch.cartesian_prod(*(torch.arange(size) for size in count.shape)):
        row = tuple(place.tolist())
        found[(*row, indices[row][: int(count[row])].long())] = True
    return found


@pytest.mark.parametrize("size", [16, 128])
@pytest.mark.parametrize(("rows", "length"), CASES)
def test_no_block_is_lost_and_full_ones_are_full(rows: list[Layout], length: int, size: int) -> None:
    spans, seen = laid_out(rows, length)
    mask = spans.block_mask(size)
    touched, full = blocks_of(seen, size)
    assert mask.shape == (len(rows), 1, length, length)
    assert torch.equal(marked(mask.full_kv_num_blocks, mask.full_kv_indices), full)
    assert torch.equal(marked(mask.kv_num_blocks, mask.kv_indices), touched & ~full)
    # What the backward pass walks over.
    assert torch.equal(marked(mask.full_q_num_blocks, mask.full_q_indices), full.transpose(-1, -2))
    assert torch.equal(marked(mask.q_num_blocks, mask.q_indices), (touched & ~full).transpose(-1, -2))
    if size == 16:
        assert bool(full.any()), "the layout has no full block: it tests nothing"


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize(("rows", "length"), CASES[:4])
def test_flex_attention_is_attention_with_the_dense_mask(rows: list[Layout], length: int) -> None:
    spans, seen = laid_out(rows, length)
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(len(rows), 4, length, 16, generator=generator)
    key, value = (torch.randn(len(rows), 2, length, 16, generator=generator) for _ in range(2))
    with torch.no_grad():
        flexible = flex_attention(query, key, value, block_mask=spans.block_mask(), enable_gqa=True)
        dense = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True)
    torch.testing.assert_close(flexible, dense, rtol=0, atol=1e-5)


def test_the_block_mask_of_a_long_row_is_small() -> None:
    length = 8192
    spans, _ = laid_out([[(64, [])]], 64)
    spans = Spans(
        *(functional.pad(part, (0, length - 64)) for part in (spans.prefix_start, spans.prefix_end)), start(length)
    )
    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            found = func(*args, **(kwargs or {}))
            if isinstance(found, Tensor):
                largest = max(largest, found.numel())
            return found

    with Sizes():
        mask = spans.block_mask()
    assert isinstance(mask, BlockMask)
    assert 0 < largest <= length * length // 128


def start(length: int) -> Tensor:
    """Of one document of 64 tokens, then padding."""
    position = torch.arange(length)
    return torch.where(position < 64, 0, position)[None]


def test_shapes_that_differ_are_refused() -> None:
    part = torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="rows, length"):
        Spans(part, part, part[:, :3])
    with pytest.raises(ValueError, match="rows, length"):
        Spans(part[0], part[0], part[0])
