"""A step of the model: tokens of many sequences, each under its own adapter, in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from random import Random

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.memory import free_memory
from qwen_lightning.rollout.grouped.decoder import Decoder, why_not
from qwen_lightning.rollout.grouped.memory import token_bytes, working_bytes
from qwen_lightning.serving.engine.kv import BLOCK, KVBlocks, KVPlaces, Visible, attend
from qwen_lightning.serving.engine.weights import ServedWeights
from qwen_lightning.serving.generation import Generation
from qwen_lightning.serving.limits import Limits

_CPU_TOKENS = 65536
_CACHE_SHARE = 0.9  # of a GPU's free memory, less what a step needs beside
_SHORTEST_BUCKET = 8  # sequences up to 2⁸ tokens attend together; longer ones with those of up to twice their length


@dataclass(slots=True, eq=False)
class Running:
    """A completion that has its room in the model.

    Args:
        generation: What was asked.
        slot: Its adapter's.
        room: Where its keys and values lie.
    """

    generation: Generation
    slot: int
    room: KVPlaces
    ids: list[int] = field(init=False)  # prompt and completion so far
    computed: int = field(default=0, init=False)  # ids whose keys and values are kept
    random: Random = field(init=False)

    def __post_init__(self) -> None:
        self.ids = list(self.generation.prompt)
        seed = self.generation.sampling.seed
        # Python's generator takes a negative seed for its positive; modulo, as vLLM is told it, they differ.
        self.random = Random(None if seed is None else seed % 2**63)

    @property
    def left(self) -> int:
        """Ids that are still to go through the model; 1 in decoding."""
        return len(self.ids) - self.computed


@dataclass(frozen=True, slots=True)
class Part:
    """A sequence's share of a step.

    Args:
        running: The sequence.
        count: How many of its ids that are left, at least 1.
    """

    running: Running
    count: int

    @property
    def end(self) -> int:
        """Ids of the sequence whose keys and values are kept after the step."""
        return self.running.computed + self.count

    @property
    def completes(self) -> bool:
        """Whether the sequence's next token follows from the step."""
        return self.count == self.running.left

    @property
    def bucket(self) -> int:
        """Single tokens with one bucket attend together; -1: several tokens, on their own."""
        return max(self.end.bit_length(), _SHORTEST_BUCKET) if self.count == 1 else -1


class ModelRunner:
    """The backbone under several adapters, and the keys and values of what it works at.

    Args:
        backbone: The model.
        weights: Its layers.
        limits: What it takes on.

    Raises:
        ConfigError: There is no memory for the keys and values of a single token block.
    """

    def __init__(self, backbone: PreTrainedModel, weights: ServedWeights, limits: Limits) -> None:
        self.weights = weights
        self.decoder = decoder = Decoder(backbone, weights.layers)
        tokens = limits.cache_tokens or _planned_tokens(decoder, limits, int(backbone.config.max_position_embeddings))
        if tokens < BLOCK:
            raise ConfigError(
                f"there is memory for {tokens} tokens' keys and values, and {BLOCK} make a block; "
                "free some, or give a larger cache_tokens"
            )
        self.kv = KVBlocks(tokens, decoder.layers, decoder.key_heads, decoder.size, decoder.dtype, decoder.device)
        self._tables: dict[int, tuple[list[Running], Tensor]] = {}

    def step(self, parts: Sequence[Part]) -> tuple[list[Running], Tensor]:
        """Send the parts through the model; their keys and values are kept, and counted as computed.

        Returns:
            The sequences whose next token follows, and its logits: (sequences, vocabulary).
        """
        device = self.decoder.device
        # Rows that attend together stand together, single tokens first; those of one adapter as far as that allows.
        parts = sorted(parts, key=lambda part: (part.count > 1, part.bucket, part.running.slot))
        ids = [token for part in parts for token in part.running.ids[part.running.computed : part.end]]
        slots = [part.running.slot for part in parts for _ in range(part.count)]
        positions = torch.tensor([place for part in parts for place in range(part.running.computed, part.end)])
        positions = positions.to(device)
        visible, writes = self._layout(parts, positions)
        self.weights.routing.set(slots, device)
        hidden = self.decoder(
            torch.tensor(ids).to(device), positions, partial(self._attend, visible, torch.cat(writes))
        )
        last, row = [], -1
        for part in parts:
            row += part.count
            if part.completes:
                last.append(row)
        complete = [part.running for part in parts if part.completes]
        for part in parts:
            part.running.computed = part.end
        if len(last) < len(hidden):
            hidden = hidden[torch.tensor(last, dtype=torch.long, device=device)]
        return complete, self.decoder.head(hidden)

    def _layout(self, parts: Sequence[Part], positions: Tensor) -> tuple[list[Visible], list[Tensor]]:
        """What each part of the rows sees, and where each row's keys and values go."""
        visible, writes, row = [], [], 0
        tables: dict[int, tuple[list[Running], Tensor]] = {}
        for bucket, group in groupby(parts, key=lambda part: part.bucket):
            members = list(group)
            if bucket < 0:
                for part in members:
                    start, places = part.running.computed, part.running.room.places
                    visible.append(Visible.of_prefill(places, row, start, part.end))
                    writes.append(places[start : part.end])
                    row += part.count
            else:
                table = self._table(bucket, [part.running for part in members])
                tables[bucket] = table
                own = positions[row : row + len(members)]
                visible.append(Visible.of_decoding(table[1], row, own, max(part.end for part in members) - 1))
                writes.append(table[1].gather(1, own[:, None])[:, 0])
                row += len(members)
        self._tables = tables
        return visible, writes

    def _table(self, bucket: int, members: list[Running]) -> tuple[list[Running], Tensor]:
        """(sequences, room) places of sequences, the last step's where they are the same."""
        known = self._tables.get(bucket)
        if known is not None and known[0] == members:
            return known
        return members, pad_sequence([running.room.places for running in members], batch_first=True)

    def _attend(
        self, visible: Sequence[Visible], writes: Tensor, layer: int, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        keys, values = self.kv.keys[layer], self.kv.values[layer]
        keys.index_copy_(0, writes, key)
        values.index_copy_(0, writes, value)
        seen = [attend(query[slice(*own.rows)], keys, values, own, self.decoder.scale) for own in visible]
        return seen[0] if len(seen) == 1 else torch.cat(seen)


def _planned_tokens(decoder: Decoder, limits: Limits, longest: int) -> int:
    """Tokens that the store holds: as many as can ever be needed, or as fit."""
    needed = limits.running * (-(-(limits.length or longest) // BLOCK)) * BLOCK
    free = free_memory(decoder.device)
    if free is None:
        return min(needed, _CPU_TOKENS)
    # A step gathers a layer's keys and values of all sequences, padded to twice their length at most.
    held = token_bytes(decoder) * (decoder.layers + 2) // decoder.layers
    return max(0, min(needed, int(_CACHE_SHARE * free - working_bytes(decoder, limits.running)) // held))


def require_servable(backbone: PreTrainedModel) -> None:
    """Refuse a model that the decoder does not compute.

    Raises:
        ConfigError: Its architecture, or what a GPU's kernels need, is not there; the message says which.
    """
    reason = why_not(backbone)
    if reason is not None:
        raise ConfigError(f"serve cannot compute this model: {reason}; export the adapters and serve them with vLLM")
