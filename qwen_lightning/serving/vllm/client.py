"""VLLMClient: the HTTP calls that serving makes to a vLLM server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from qwen_lightning.errors import ConfigError, QwenLightningError
from qwen_lightning.rollout.vllm.cards import ModelCard, ModelCards
from qwen_lightning.serving.generation import QueueFullError, UpstreamError, UpstreamUnavailableError

if TYPE_CHECKING:
    from openai import AsyncStream

_CONNECT_S = 10.0
_DRAIN_S = 1.0
_SAID = 300  # characters of vLLM's own words that are passed on

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class VLLMSettings:
    """Where a vLLM server is.

    Args:
        url: Its address, such as http://gpu:8000, with or without `/v1`.
        api_key: The key that it asks for; None: none.
        timeout_s: Seconds without a byte from it after which a completion is given up.

    Raises:
        ConfigError: The address is none, or holds a password, or the time is not above 0 or not finite.
    """

    url: str
    api_key: str | None = None
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port)
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment:
            raise ConfigError(f"--url {self.url}: give an address such as http://127.0.0.1:8000")
        if parts.username is not None or parts.password is not None:
            raise ConfigError("--url: leave name and password out; --url-key-env names a variable with the key")
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ConfigError(f"--url-timeout is {self.timeout_s}; it must be above 0, and finite")

    @property
    def base_url(self) -> str:
        """The address with `/v1`."""
        plain = self.url.rstrip("/")
        return plain if plain.endswith("/v1") else f"{plain}/v1"


class _LogProbs(BaseModel):
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]


class Choice(BaseModel):
    """What a chunk of a stream says of the completion.

    `token_ids` are the new ones; `logprobs` theirs, keyed by `token_id:N`.
    """

    token_ids: list[int] | None = None
    logprobs: _LogProbs | None = None
    finish_reason: str | None = None


class _Chunk(BaseModel):
    choices: list[Choice]


class VLLMClient:
    """A vLLM server, by its OpenAI-compatible API. For one event loop.

    Args:
        settings: Where it is.
        connections: Completions under way at once.

    Raises:
        ConfigError: The client's package is not there.
    """

    def __init__(self, settings: VLLMSettings, connections: int) -> None:
        try:
            from httpx2 import Limits
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout
        except ImportError as error:
            raise ConfigError(f"--backend vllm needs openai ({error}); pip install 'qwen_lightning[vllm]'") from None
        self.settings = settings
        timeout = Timeout(settings.timeout_s, connect=min(settings.timeout_s, _CONNECT_S))
        self._client = AsyncOpenAI(
            base_url=settings.base_url,
            api_key=settings.api_key or "none",  # the client asks for one; a server without a key takes any
            max_retries=0,
            timeout=timeout,
            http_client=DefaultAsyncHttpxClient(
                limits=Limits(max_connections=connections + 4, max_keepalive_connections=connections),
            ),
        )

    async def models(self, timeout_s: float) -> list[ModelCard]:
        """The base models, and the adapters that are loaded.

        Raises:
            UpstreamError: The server cannot be reached or refuses.
            QueueFullError: It is busy.
        """
        from openai import OpenAIError

        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._client.get("/models", cast_to=object)
        except TimeoutError:
            raise UpstreamUnavailableError(f"the vLLM server does not answer within {timeout_s:g} s") from None
        except (OpenAIError, ValueError) as error:
            raise self._fault(error) from None
        return self._read(ModelCards, reply).data

    @asynccontextmanager
    async def completion(self, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[Choice]]:
        """A completion that vLLM has begun, as the chunks that come; leaving early makes vLLM abort it.

        Args:
            body: The request, which is to ask for a stream and one choice.

        Raises:
            UpstreamError: The server cannot be reached, refuses, breaks off, or sends what is no completion.
            QueueFullError: It is busy.
        """
        stream = await self._open(body)
        try:
            yield self._chunks(stream)
        finally:
            await stream.close()

    async def drain(self, chunks: AsyncIterator[Choice]) -> None:
        """Read what comes after a completion's end, so that the connection can be used again."""
        # The completion is whole: whatever happens here costs a connection and nothing else.
        with suppress(TimeoutError, QwenLightningError):
            async with asyncio.timeout(_DRAIN_S):
                async for _ in chunks:
                    pass

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.close()

    # ------------------------------------------------------------------ requests and replies

    async def _open(self, body: dict[str, Any]) -> AsyncStream[object]:
        from openai import APIConnectionError, APITimeoutError, OpenAIError

        try:
            try:
                return await self._send(body)
            except APITimeoutError:
                raise
            except APIConnectionError:
                # A server may close a connection that lay idle just as it is used again: that is no fault.
                return await self._send(body)
        except (OpenAIError, ValueError) as error:
            raise self._fault(error) from None

    async def _send(self, body: dict[str, Any]) -> AsyncStream[object]:
        from openai import AsyncStream

        return await self._client.post(
            "/completions", cast_to=object, body=body, stream=True, stream_cls=AsyncStream[object]
        )

    async def _chunks(self, stream: AsyncStream[object]) -> AsyncIterator[Choice]:
        from openai import OpenAIError

        try:
            async for event in stream:
                for choice in self._read(_Chunk, event).choices:
                    yield choice
        except (OpenAIError, ValueError) as error:
            raise self._fault(error, begun=True) from None

    def _read(self, kind: type[R], reply: object) -> R:
        try:
            return kind.model_validate(reply)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise self.wrong(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    # ------------------------------------------------------------------ faults

    def wrong(self, what: str) -> UpstreamError:
        """The fault of an answer that is no completion."""
        return UpstreamError(f"the vLLM server sent what is no completion ({what})")

    def _fault(self, error: Exception, begun: bool = False) -> QwenLightningError:
        """What a failed call means to who asked; the server's address is nothing to tell a client."""
        from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError

        match error:
            case APIStatusError():
                return _refusal(error.status_code, error.body)
            case APITimeoutError() if type(error.__cause__).__name__ != "ConnectTimeout":
                return UpstreamError(f"the vLLM server has sent nothing for {self.settings.timeout_s:g} s")
            case APIConnectionError() if begun:
                return UpstreamError("the connection to the vLLM server broke before the completion's end")
            case APIConnectionError():
                reason = _words(error.__cause__ or error)
                return UpstreamUnavailableError(f"the vLLM server cannot be reached ({reason})")
            case APIError():
                return UpstreamError("the vLLM server failed at the completion", _words(error.message))
        return self.wrong(f"a {type(error).__name__} in reading it")


def _refusal(status: int, body: object) -> QwenLightningError:
    if status == 429:
        return QueueFullError("the vLLM server has too many requests; try again later")
    if status in (502, 503, 504):
        return UpstreamUnavailableError(f"the vLLM server is not ready (status {status})")
    if status in (401, 403):
        return UpstreamError(
            f"the vLLM server refuses the key (status {status}); name the variable with it in --url-key-env"
        )
    said = body.get("message") if isinstance(body, dict) else None
    does = "refuses" if status < 500 else "failed at"
    return UpstreamError(f"the vLLM server {does} the request (status {status})", _words(said) if said else "")


def _words(said: object) -> str:
    return " ".join(str(said).split())[:_SAID] or type(said).__name__
