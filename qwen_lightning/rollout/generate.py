"""The engine that every transformers model has: `generate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.base import Completion, RolloutEngine


class GenerateRollout(RolloutEngine):
    """Rollout through transformers' `generate`.

    Args:
        batch_size: Sequences decoded at once.
        batch_tokens: Tokens of prompts and completions decoded at once, padding included: their keys and values take
            147 kB each in Qwen3-8B. A prompt's own samples always share a batch.
    """

    def __init__(self, batch_size: int = 64, batch_tokens: int = 32768) -> None:
        if batch_size < 1 or batch_tokens < 1:
            raise ConfigError(f"batch_size {batch_size} and batch_tokens {batch_tokens} must be at least 1")
        self.batch_size, self.batch_tokens = batch_size, batch_tokens

    def sample(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        prompts: list[list[int]],
        counts: Sequence[int],
        max_new_tokens: int,
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        # Prompts of like length share a batch, so that little is padded.
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        completions: list[list[Completion]] = [[] for _ in prompts]
        with policy.evaluating():
            for samples in sorted(set(counts), reverse=True):  # transformers takes one number a batch
                chosen = [index for index in order if counts[index] == samples]
                for chunk in self._chunks(chosen, prompts, samples, max_new_tokens):
                    asked = [prompts[index] for index in chunk]
                    batch = self._batch(policy, renderer, asked, samples, max_new_tokens, temperature)
                    for position, index in enumerate(chunk):
                        completions[index] = batch[position * samples : (position + 1) * samples]
        return completions

    def _chunks(
        self, order: list[int], prompts: list[list[int]], samples: int, max_new_tokens: int
    ) -> Iterator[list[int]]:
        """Prompts of a batch; `order` is by length, so the last one sets the width."""
        chunk: list[int] = []
        for index in order:
            rows = (len(chunk) + 1) * samples
            full = rows > self.batch_size or rows * (len(prompts[index]) + max_new_tokens) > self.batch_tokens
            if chunk and full:
                yield chunk
                chunk = []
            chunk.append(index)
        if chunk:
            yield chunk

    def _batch(
        self,
        policy: PolicyModel,
        renderer: ChatRenderer,
        prompts: list[list[int]],
        samples: int,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Completion]:
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), renderer.pad_id)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        recorder = _LogProbRecorder(temperature)
        config = GenerationConfig(
            do_sample=temperature > 0,
            temperature=1.0 if temperature > 0 else None,  # the recorder divides by it
            top_k=0 if temperature > 0 else None,
            num_return_sequences=samples,
            max_new_tokens=max_new_tokens,
            eos_token_id=renderer.eos_ids,
            pad_token_id=renderer.pad_id,
        )
        sequences = cast(Any, policy.backbone).generate(
            input_ids=ids.to(policy.device),
            attention_mask=mask.to(policy.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([recorder]),
        )
        assert isinstance(sequences, Tensor)
        logprobs = recorder.finish(sequences)
        return [
            _cut(row, scores, renderer.eos_ids)
            for row, scores in zip(sequences[:, width:].tolist(), logprobs, strict=True)
        ]


class _LogProbRecorder(LogitsProcessor):
    """Divides by the temperature and keeps the log-prob of each chosen token, one step's logits at a time."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature or 1.0
        self._previous: Tensor | None = None
        self._chosen: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._take(input_ids)
        scores = scores.float() / self.temperature
        self._previous = scores
        return scores

    def finish(self, sequences: Tensor) -> Tensor:
        """(rows, new tokens) log-probs, on the CPU."""
        self._take(sequences)
        return torch.stack(self._chosen, dim=1).cpu()

    def _take(self, ids: Tensor) -> None:
        if self._previous is not None:
            chosen = self._previous.gather(1, ids[:, -1:])[:, 0]
            self._chosen.append(chosen - self._previous.logsumexp(dim=1))
            self._previous = None


def _cut(ids: list[int], logprobs: Tensor, eos_ids: list[int]) -> Completion:
    """Drop what follows the end of turn."""
    for position, token in enumerate(ids):
        if token in eos_ids:
            return Completion(ids[: position + 1], logprobs[: position + 1].clone(), truncated=False)
    return Completion(ids, logprobs, truncated=True)
