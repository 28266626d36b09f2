"""Keys and values of all requests in one store, in blocks that any request may have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 16  # tokens


class KVBlocks:
    """A store of a size that is planned once; a request takes its blocks when it comes and gives them when it goes.

    Args:
        tokens: That fit in.
        layers: Decoder layers.
        key_heads: Heads of keys and values.
        size: Head size.
        dtype: Of keys and values.
        device: Where they lie.
    """

    def __init__(
        self, tokens: int, layers: int, key_heads: int, size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.blocks = tokens // BLOCK
        shape = (1 + self.blocks) * BLOCK, key_heads, size
        # Zeros: what was never written is masked, but masked NaN would still spoil a product. The first block stays
        # so: batches are padded with it.
        self.keys, self.values = (
            [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)] for _ in range(2)
        )
        self._free = list(range(1, 1 + self.blocks))
        self._device = device

    @property
    def tokens(self) -> int:
        """Tokens that fit in."""
        return self.blocks * BLOCK

    @property
    def taken(self) -> int:
        """Tokens whose places are taken, whole blocks counted."""
        return (self.blocks - len(self._free)) * BLOCK

    def take(self, tokens: int) -> KVPlaces | None:
        """Room for a sequence of so many tokens; None while there is not enough."""
        count = -(-tokens // BLOCK)
        if count > len(self._free):
            return None
        blocks = [self._free.pop() for _ in range(count)]
        first = torch.tensor(blocks, device=self._device)[:, None] * BLOCK
        return KVPlaces(blocks, (first + torch.arange(BLOCK, device=self._device)).flatten())

    def give(self, room: KVPlaces, wipe: bool = False) -> None:
        """Take a sequence's room back.

        Args:
            room: The room.
            wipe: Whether it may hold NaN, which must not stay for the next sequence.
        """
        if wipe:
            for store in (*self.keys, *self.values):
                store.index_fill_(0, room.places, 0.0)
        self._free += room.blocks


@dataclass(frozen=True, slots=True)
class KVPlaces:
    """Where a sequence's tokens lie in the store.

    Args:
        blocks: Its blocks.
        places: (tokens,) int64 place of each token, in the sequence's order.
    """

    blocks: list[int]
    places: Tensor


@dataclass(frozen=True, slots=True)
class Visible:
    """What a part of a step's rows sees: sequences of one token each, or the tokens of one sequence.

    Args:
        rows: First row and end.
        places: (sequences, width) int64; beyond a sequence's tokens any that holds no NaN.
        mask: (sequences, 1, rows of each sequence, width) bool, True where a row sees a token.
    """

    rows: tuple[int, int]
    places: Tensor
    mask: Tensor

    @classmethod
    def of_decoding(cls, places: Tensor, row: int, positions: Tensor, longest: int) -> Visible:
        """Rows from `row` on, of one token each.

        Args:
            places: (sequences, room) of their sequences.
            row: The first.
            positions: (sequences,) of the tokens.
            longest: The largest position.
        """
        mask = torch.arange(longest + 1, device=places.device) <= positions[:, None]
        return cls((row, row + len(places)), places[:, : longest + 1], mask[:, None, None])

    @classmethod
    def of_prefill(cls, places: Tensor, row: int, start: int, end: int) -> Visible:
        """Rows from `row` on: tokens start … end - 1 of a sequence whose places are (room,)."""
        position = torch.arange(end, device=places.device)
        mask = position <= position[start:, None]
        return cls((row, row + end - start), places[None, :end], mask[None, None])


def attend(query: Tensor, keys: Tensor, values: Tensor, visible: Visible, scale: float) -> Tensor:
    """Attention of some rows to their own sequences.

    Args:
        query: (rows, heads, head size) of these rows.
        keys: (tokens, key heads, head size), a layer's store, with these rows' own keys written.
        values: As `keys`.
        visible: What the rows see.
        scale: Multiplies the scores.

    Returns:
        As `query`.
    """
    sequences, width = visible.places.shape
    heads, size = keys.shape[1:]
    repeat = query.shape[1] // heads
    # Queries that share a key head stand as one head's rows, so that keys are not repeated.
    q = query.view(sequences, -1, heads, repeat, size).permute(0, 2, 3, 1, 4)
    length = q.shape[3]
    q = q.reshape(sequences, heads, repeat * length, size)
    flat = visible.places.flatten()
    k, v = (store.index_select(0, flat).view(sequences, width, heads, size).transpose(1, 2) for store in (keys, values))
    mask = visible.mask if length == 1 else visible.mask.repeat(1, 1, repeat, 1)
    seen = functional.scaled_dot_product_attention(q, k, v, mask, scale=scale)
    return seen.view(sequences, heads, repeat, length, size).permute(0, 3, 1, 2, 4).reshape(query.shape)
