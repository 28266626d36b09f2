"""What vLLM is asked for a completion, and its tokens read from what it streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, Literal

from qwen_lightning.serving.generation import Generation, Sampling, Token, UpstreamError
from qwen_lightning.serving.vllm.client import Choice

_TOKEN = "token_id:"  # how vLLM names tokens by their ids


def request_body(model: str, generation: Generation, eos_ids: Collection[int]) -> dict[str, Any]:
    """The request to POST /v1/completions.

    Args:
        model: Name of the adapter or the backbone.
        generation: Prompt and sampling.
        eos_ids: Ids that end every completion.
    """
    sampling = generation.sampling
    return {
        "model": model,
        "prompt": generation.prompt,
        "stream": True,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        # All said, or the server would take the checkpoint's.
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        # vLLM takes 64 bits, and -1 for none.
        "seed": None if sampling.seed is None else sampling.seed % 2**63,
        "stop_token_ids": sorted({*eos_ids, *sampling.stop_ids}),
        "ignore_eos": True,  # the checkpoint's own, which may be others; `stop_token_ids` still stop
        "logprobs": sampling.top_logprobs,  # 0: the sampled token's alone
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }


class CompletionReader:
    """Reads one completion's tokens, and sees that they are what was asked for.

    Args:
        sampling: How they were to be sampled.
        eos_ids: Ids that end every completion.
        wrong: Makes the error for what is no completion.
    """

    def __init__(self, sampling: Sampling, eos_ids: Collection[int], wrong: Callable[[str], UpstreamError]) -> None:
        self.count = 0  # tokens so far
        self.finish_reason: Literal["stop", "length"] | None = None
        self._sampling, self._stops, self._wrong = sampling, {*eos_ids, *sampling.stop_ids}, wrong
        self._stopped = False

    def read(self, choice: Choice) -> list[Token]:
        """The tokens of a chunk.

        Raises:
            UpstreamError: They cannot be a part of this completion.
        """
        tokens = self._tokens(choice)
        for token in tokens:
            if self._stopped or self.count == self._sampling.max_tokens:
                raise self._wrong("tokens behind its end")
            if not math.isfinite(token.logprob):
                raise self._wrong(f"a token with the log-prob {token.logprob}; check the adapter's weights")
            self.count += 1
            self._stopped = token.id in self._stops
        if choice.finish_reason is None:
            return tokens
        if not self.count or choice.finish_reason != ("stop" if self._stopped else "length"):
            raise self._wrong(f"finish_reason {choice.finish_reason!r} after {self.count} tokens")
        self.finish_reason = "stop" if self._stopped else "length"
        return tokens

    def _tokens(self, choice: Choice) -> list[Token]:
        ids = choice.token_ids
        if ids is None:
            raise self._wrong("no token ids; take vLLM 0.10.2 or newer")
        if not ids:
            return []
        said = choice.logprobs
        if said is None or not len(ids) == len(said.token_logprobs) == len(said.top_logprobs):
            raise self._wrong(f"{len(ids)} tokens without a log-prob each")
        return [
            Token(token, logprob, self._top(top))
            for token, logprob, top in zip(ids, said.token_logprobs, said.top_logprobs, strict=True)
        ]

    def _top(self, top: dict[str, float]) -> tuple[tuple[int, float], ...]:
        """The likeliest tokens; the sampled one, which is always named, only where it is among them."""
        if not self._sampling.top_logprobs:
            return ()
        if not all(name.startswith(_TOKEN) and name[len(_TOKEN) :].isdecimal() for name in top):
            raise self._wrong("log-probs of tokens that are not named by their ids")
        ranked = sorted(top.items(), key=lambda item: -item[1])[: self._sampling.top_logprobs]
        return tuple((int(name[len(_TOKEN) :]), logprob) for name, logprob in ranked)
