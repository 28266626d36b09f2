"""A decoding: prompts in, completions out, step by step on static buffers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from qwen_lightning.rollout.base import Completion
from qwen_lightning.rollout.grouped.attention import grouped_attention
from qwen_lightning.rollout.grouped.cache import CacheShape, GroupedCache
from qwen_lightning.rollout.grouped.decoder import Decoder, causal_attention
from qwen_lightning.rollout.grouped.graphs import StepGraphs
from qwen_lightning.rollout.grouped.sampling import draw

PREFILL_TOKENS = 16384  # that go through the decoder at once, padding included
_CHECK_EVERY = 8  # steps on a GPU between two looks at what has ended: a look waits for the device


class DecodingSession:
    """Decodes batches of prompts in one set of buffers, until a batch needs larger ones.

    Args:
        decoder: The forward pass.
        shape: What the buffers hold.
        eos_ids: Ids that end a completion.
        row_buckets: Whether batches shrink to powers of two, so that few graphs are captured, or to the rows that live.
    """

    def __init__(self, decoder: Decoder, shape: CacheShape, eos_ids: Sequence[int], row_buckets: bool) -> None:
        device = decoder.device
        self.decoder, self.shape = decoder, shape
        self.eos_ids, self.row_buckets = list(eos_ids), row_buckets
        self.cache = GroupedCache(shape, decoder.layers, decoder.key_heads, decoder.size, decoder.dtype, device)
        rows = shape.rows
        self._ends = torch.tensor(self.eos_ids, device=device)
        self._tokens = torch.zeros(rows, dtype=torch.long, device=device)  # each row's latest
        self._live = torch.zeros(rows, dtype=torch.bool, device=device)
        # The sequence of each row; idle rows write to one beyond the last.
        self._sequence = torch.full((rows,), rows, device=device)
        self._ids = torch.zeros(rows + 1, shape.room, dtype=torch.long, device=device)
        self._logprobs = torch.zeros(rows + 1, shape.room, device=device)
        self._graphs = StepGraphs() if device.type == "cuda" else None

    def decode(
        self, prompts: Sequence[list[int]], counts: Sequence[int], max_new_tokens: int, temperature: float
    ) -> list[list[Completion]]:
        """Complete prompts.

        Args:
            prompts: Token ids.
            counts: Completions of each prompt.
            max_new_tokens: Length limit of a completion.
            temperature: Of the sampling distribution; 0 is greedy.
        """
        total = sum(counts)
        rows = self._begin(prompts, counts, temperature)
        for step in range(1, max_new_tokens):
            if self._graphs is None or step % _CHECK_EVERY == 1:
                live = int(self._live[:rows].sum())
                if not live:
                    break
                rows = self._shrink(rows, live)
            if self._graphs is None:
                self._step(rows, temperature)
            else:
                self._graphs.run(partial(self._step, rows, temperature), rows, temperature)
            self.cache.steps += 1
        return self._cut(total, max_new_tokens, counts)

    def _begin(self, prompts: Sequence[list[int]], counts: Sequence[int], temperature: float) -> int:
        """Prefill, draw every completion's first token; returns the batch's rows."""
        device, total = self.decoder.device, sum(counts)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        hidden = self._prefill(prompts)
        repeats = torch.tensor(counts, device=device)
        self.cache.begin(lengths.to(device), repeats)
        rows = self._bucket(total)
        self._sequence.fill_(self.shape.rows)
        self._sequence[:total] = torch.arange(total, device=device)
        self._live.zero_()
        self._live[:total] = True
        self._tokens.zero_()
        logits = self.decoder.head(hidden).repeat_interleave(repeats, 0)
        self._take(logits, total, temperature)
        return rows

    def _prefill(self, prompts: Sequence[list[int]]) -> Tensor:
        """(prompts, hidden) states after each prompt; their keys and values are in the cache."""
        device = self.decoder.device
        found: list[Tensor] = []
        together = max(1, PREFILL_TOKENS // max(map(len, prompts)))
        for start in range(0, len(prompts), together):
            part = [torch.tensor(prompt) for prompt in prompts[start : start + together]]
            ids = pad_sequence(part, batch_first=True)
            width = ids.shape[1]
            positions = torch.arange(width, device=device).repeat(len(part))
            attend = partial(self._attend_prompts, start, len(part))
            hidden = self.decoder(ids.flatten().to(device), positions, attend)
            last = torch.tensor([row * width + len(prompt) - 1 for row, prompt in enumerate(part)])
            found.append(hidden[last.to(device)])
        return torch.cat(found)

    def _attend_prompts(self, start: int, count: int, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention within `count` prompts, the first of which is group `start`."""
        for buffers, new in ((self.cache.prompt_keys, key), (self.cache.prompt_values, value)):
            new = new.view(count, -1, *new.shape[1:]).transpose(1, 2)
            buffers[layer][start : start + count, :, : new.shape[2]] = new
        return causal_attention(query, key, value, count, self.decoder.scale)

    def _step(self, rows: int, temperature: float) -> None:
        """The next token of every row. Reads and writes the static buffers alone, and waits for nothing."""
        positions = self.cache.row_lengths[:rows] + self.cache.decoded
        hidden = self.decoder(self._tokens[:rows], positions, self._attend)
        self.cache.advance()
        self._take(self.decoder.head(hidden), rows, temperature)

    def _take(self, logits: Tensor, rows: int, temperature: float) -> None:
        """Draw the rows' next tokens and keep them."""
        tokens, logprobs = draw(logits, temperature)
        sequence, place = self._sequence[:rows], self.cache.place
        self._ids[sequence, place] = tokens
        self._logprobs[sequence, place] = logprobs
        self._tokens[:rows] = tokens
        self._live[:rows] &= (tokens[:, None] != self._ends).all(-1)

    def _attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of a step, whose keys and values are kept first."""
        cache = self.cache
        cache.write(layer, key, value)
        if query.is_cuda:
            return self._attend_in_kernel(layer, query)
        groups, width = cache.grid.shape[0], cache.prompt_bias.shape[-1]
        return grouped_attention(
            query,
            cache.prompt_keys[layer][:groups, :, :width],
            cache.prompt_values[layer][:groups, :, :width],
            cache.prompt_bias,
            cache.keys[layer][:, :, : cache.steps + 1],
            cache.values[layer][:, :, : cache.steps + 1],
            cache.grid,
            self.decoder.scale,
        )

    def _attend_in_kernel(self, layer: int, query: Tensor) -> Tensor:
        from qwen_lightning.rollout.grouped import triton_attention

        cache = self.cache
        return triton_attention.grouped_attention(
            query,
            cache.prompt_keys[layer],
            cache.prompt_values[layer],
            cache.prompt_lengths,
            cache.keys[layer],
            cache.values[layer],
            cache.decoded,
            cache.starts,
            self.decoder.scale,
        )

    def _shrink(self, rows: int, live: int) -> int:
        """Leave ended sequences out of the batch, once that makes it a good deal smaller."""
        smaller = self._bucket(live)
        if 4 * smaller > 3 * rows:
            return rows
        kept = self._live[:rows].nonzero()[:, 0]
        self.cache.keep(kept)
        for buffer, idle in ((self._tokens, 0), (self._live, False), (self._sequence, self.shape.rows)):
            buffer[:live] = buffer[kept]
            buffer[live:] = idle
        return smaller

    def _bucket(self, rows: int) -> int:
        """Rows that a batch of `rows` is run with: few sizes, so that few graphs are captured."""
        return min(1 << (rows - 1).bit_length(), self.shape.rows) if self.row_buckets else rows

    def _cut(self, total: int, max_new_tokens: int, counts: Sequence[int]) -> list[list[Completion]]:
        """Completions by prompt, each up to its end."""
        ids, logprobs = self._ids[:total, :max_new_tokens].tolist(), self._logprobs[:total].cpu()
        ends = set(self.eos_ids)
        found = []
        for row, own in enumerate(ids):
            length = next((place + 1 for place, token in enumerate(own) if token in ends), max_new_tokens)
            truncated = own[length - 1] not in ends
            found.append(Completion(own[:length], logprobs[row, :length].clone(), truncated))
        starts = [sum(counts[:index]) for index in range(len(counts))]
        return [found[start : start + count] for start, count in zip(starts, counts, strict=True)]
