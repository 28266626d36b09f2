"""VLLMServer: the HTTP calls that a rollout makes to a vLLM server."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from qwen_lightning.errors import ConfigError, ExecutionError
from qwen_lightning.rollout.base import Completion
from qwen_lightning.rollout.vllm.cards import ModelCard, ModelCards
from qwen_lightning.rollout.vllm.failures import LONGER, MODE, START, Busy, Refusal, Unreachable

if TYPE_CHECKING:
    from openai import OpenAI

_CONNECT_S = 10.0
_BUSY = (429, 502, 503)
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0  # before a request is sent again; doubles each time
_TOP = 5  # log-probs that show whether the temperature is in them; servers allow 20
_ROUNDING = 1e-3  # by which a log-prob may be above 0, or probabilities above 1 in sum

Reply = TypeVar("Reply", bound=BaseModel)


class _LogProbs(BaseModel):
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]


class _Choice(BaseModel):
    index: int
    finish_reason: str
    token_ids: list[int] | None = None
    logprobs: _LogProbs


class _Choices(BaseModel):
    choices: list[_Choice]


class VLLMServer:
    """A vLLM server, by its OpenAI-compatible API; safe to use from many threads.

    Args:
        url: Address of the API, such as http://127.0.0.1:8000/v1.
        api_key_env: Environment variable that holds the key; none is sent unless given.
        timeout_s: Seconds to wait for a reply. A request that took longer is not sent again: it would begin anew.
        retries: Times that a request is sent again, after a growing pause, when the server is unreachable or busy.

    Raises:
        ConfigError: A setting cannot be meant.
    """

    def __init__(self, url: str, api_key_env: str | None, timeout_s: float, retries: int) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"rollout.url is {url!r}; give an address such as http://127.0.0.1:8000/v1")
        if timeout_s <= 0 or retries < 0:
            raise ConfigError("rollout.timeout_s must be above 0, and rollout.retries at least 0")
        self.url, self.api_key_env, self.timeout_s, self.retries = url, api_key_env, timeout_s, retries
        self._client: OpenAI | None = None
        self._lock = Lock()

    def models(self) -> list[ModelCard]:
        """The base models, and the adapters that are loaded.

        Raises:
            ExecutionError: The server cannot be reached or refuses.
        """
        return self._read(ModelCards, self._send("/models")).data

    def load_adapter(self, name: str, folder: Path) -> None:
        """Load an adapter under a name of its own.

        Raises:
            ExecutionError: The server cannot be reached, or cannot load it.
        """
        try:
            self._send("/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        except Refusal as refusal:
            # The name is nobody else's: a first request whose reply was lost has loaded it.
            if "has already been loaded" not in refusal.said:
                raise

    def unload_adapter(self, name: str) -> None:
        """Unload an adapter; one that the server has lost is unloaded already.

        Raises:
            ExecutionError: The server cannot be reached or refuses.
        """
        try:
            self._send("/unload_lora_adapter", {"lora_name": name})
        except Refusal as refusal:
            if "cannot be found" not in refusal.said:
                raise

    def complete(
        self,
        model: str,
        prompt: Sequence[int],
        samples: int,
        max_new_tokens: int,
        temperature: float,
        stop_ids: Sequence[int],
        seed: int | None,
    ) -> list[Completion]:
        """Complete one prompt.

        Args:
            model: Name of the base model or of an adapter.
            prompt: Token ids.
            samples: Completions; at temperature 0 they are all the same.
            max_new_tokens: Length limit, end of turn included.
            temperature: Divides the logits; 0 is greedy.
            stop_ids: The ids that end a turn; no others do.
            seed: Of the samples.

        Returns:
            `samples` completions.

        Raises:
            ExecutionError: The server cannot be reached, refuses, or sends what is no completion.
        """
        asked = samples if temperature > 0 else 1  # vLLM refuses more than one greedy sample
        body = {
            "n": asked,
            "max_tokens": max_new_tokens,
            "seed": seed,
            "logprobs": 0,  # the sampled token's alone
            "stop_token_ids": list(stop_ids),
            "ignore_eos": True,  # the checkpoint's own, which may be others; `stop_token_ids` still stop
            "return_token_ids": True,
        }
        reply = self._read(_Choices, self._complete(model, prompt, temperature, body))
        if sorted(choice.index for choice in reply.choices) != list(range(asked)):
            raise self._wrong(f"{len(reply.choices)} completions, not {asked}")
        found = [
            self._completion(choice, max_new_tokens, stop_ids)
            for choice in sorted(reply.choices, key=lambda choice: choice.index)
        ]
        return found if asked == samples else found * samples

    def require_processed(self, model: str, prompt: Sequence[int], temperature: float) -> None:
        """Make sure that log-probs are those of the sampling distribution.

        By default vLLM gives them before the temperature. Divided by it, the gap between two log-probs shrinks.

        Raises:
            ExecutionError: They are not.
        """
        tops = []
        for degree in (1.0, temperature):
            body = {"n": 1, "max_tokens": 1, "seed": 0, "logprobs": _TOP, "return_tokens_as_token_ids": True}
            choices = self._read(_Choices, self._complete(model, prompt, degree, body)).choices
            tops += [step for choice in choices for step in choice.logprobs.top_logprobs]
        if len(tops) != 2:
            raise self._wrong(f"{len(tops)} tokens, not 2")
        plain, divided = tops
        shared = sorted(plain.keys() & divided.keys(), key=lambda token: plain[token])
        if not shared or any(torch.tensor(list(top.values())).exp().sum() > 1 + _ROUNDING for top in tops):
            raise ExecutionError(f"vLLM at {self.url} gives no log-probs; {MODE}")
        gap, found = (top[shared[-1]] - top[shared[0]] for top in tops)
        if abs(found - gap) < abs(found - gap / temperature):
            raise ExecutionError(
                f"vLLM at {self.url} gives log-probs that leave out the temperature {temperature}; {MODE}"
            )

    def close(self) -> None:
        """Drop the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    # ------------------------------------------------------------------ requests and replies

    def _complete(self, model: str, prompt: Sequence[int], temperature: float, body: dict[str, Any]) -> object:
        # All said, or the server would take the checkpoint's: the policy ratio needs the whole distribution.
        whole = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        whole |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
        asked = {"model": model, "prompt": list(prompt), "temperature": temperature}
        return self._send("/completions", {**asked, **whole, **body})

    def _completion(self, choice: _Choice, max_new_tokens: int, stop_ids: Sequence[int]) -> Completion:
        ids, logprobs = choice.token_ids, torch.tensor(choice.logprobs.token_logprobs, dtype=torch.float32)
        if ids is None:
            raise ExecutionError(f"vLLM at {self.url} returns no token ids; take version 0.10.2 or newer")
        truncated = choice.finish_reason == "length"
        if not ids or len(ids) != len(logprobs) or any(token in stop_ids for token in ids[:-1]):
            raise self._wrong(f"{len(ids)} ids with {len(logprobs)} log-probs, or ids behind the end of turn")
        if choice.finish_reason not in ("stop", "length") or truncated == (ids[-1] in stop_ids):
            raise self._wrong(f"finish_reason {choice.finish_reason} behind token {ids[-1]}")
        if truncated and len(ids) != max_new_tokens:
            raise self._wrong(f"{len(ids)} tokens for a limit of {max_new_tokens}: {LONGER}")
        if not bool((logprobs <= _ROUNDING).all()):
            raise self._wrong(f"log-probs up to {logprobs.max().item():.3f}: {MODE}")
        return Completion(ids, logprobs, truncated)

    def _send(self, path: str, body: dict[str, Any] | None = None) -> object:
        """The reply, as parsed JSON.

        Raises:
            ExecutionError: There is none, or it is a refusal.
        """
        for attempt in range(self.retries):
            try:
                return self._send_once(path, body)
            except (Busy, Unreachable):
                time.sleep(min(_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S))
        return self._send_once(path, body)

    def _send_once(self, path: str, body: dict[str, Any] | None) -> object:
        client = self._connected()
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        try:
            return client.get(path, cast_to=object) if body is None else client.post(path, cast_to=object, body=body)
        except APIStatusError as error:
            said = error.body.get("message") if isinstance(error.body, dict) else None
            kind = Busy if error.status_code in _BUSY else Refusal
            raise kind(self.url, path, error.status_code, said) from None
        except APIConnectionError as error:
            # The client's timeout error is a connection error, and so is one of the connection itself.
            if isinstance(error, APITimeoutError) and type(error.__cause__).__name__ != "ConnectTimeout":
                raise ExecutionError(
                    f"vLLM at {self.url} has not answered {path} within {self.timeout_s:g} s; raise rollout.timeout_s, "
                    "or lower rollout.concurrency"
                ) from None
            reason = " ".join(str(error.__cause__ or error).split())
            raise Unreachable(f"no vLLM server at {self.url} ({reason}); start one: {START}") from None
        except (OpenAIError, ValueError) as error:
            raise self._wrong(" ".join(str(error).split())) from None

    def _read(self, kind: type[Reply], reply: object) -> Reply:
        try:
            return kind.model_validate(reply)
        except ValidationError as error:
            first = error.errors()[0]
            raise self._wrong(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def _wrong(self, what: str) -> ExecutionError:
        return ExecutionError(f"vLLM at {self.url} sent what is no completion of this rollout ({what})")

    def _connected(self) -> OpenAI:
        try:
            from openai import OpenAI, Timeout
        except ImportError as error:
            raise ConfigError(f"VLLMRollout needs openai ({error}); pip install 'qwen_lightning[vllm]'") from None

        with self._lock:
            if self._client is None:
                timeout = Timeout(self.timeout_s, connect=min(self.timeout_s, _CONNECT_S))
                self._client = OpenAI(base_url=self.url, api_key=self._key(), timeout=timeout, max_retries=0)
            return self._client

    def _key(self) -> str:
        if self.api_key_env is None:
            return "none"  # the client asks for one; a server without a key takes any
        if not (key := os.environ.get(self.api_key_env)):
            raise ConfigError(f"rollout.api_key_env: the environment variable {self.api_key_env} is not set")
        return key
