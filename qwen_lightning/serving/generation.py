"""What is asked of the engine for one completion, and what comes back token by token."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Literal

from qwen_lightning.errors import QwenLightningError, RequestError

FinishReason = Literal["stop", "length", "cancelled"]
MOST_TOP_LOGPROBS = 20


class QueueFullError(QwenLightningError):
    """As many requests wait as may; later there will be room."""


class EngineClosedError(QwenLightningError):
    """The engine takes no more requests: it is shutting down."""


class EngineFailedError(EngineClosedError):
    """The engine takes no more requests: it is lost, as with its device.

    Args:
        error: What ended it.
    """

    exit_code = 5

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"the model has failed ({in_one_line(error)}); start the server anew")


class GenerationError(QwenLightningError):
    """A completion that was begun and could not be finished."""


class AdapterUnavailableError(GenerationError):
    """A completion whose adapter cannot be laid onto the model: its folder has changed, or its weights do not fit."""


class UpstreamError(GenerationError):
    """The server that completes prompts for this one refuses, or answers what is no completion.

    Args:
        message: What is wrong.
        said: The other server's own words, which may repeat a part of the request.
    """

    def __init__(self, message: str, said: str = "") -> None:
        self.message = message
        super().__init__(f"{message}: {said}" if said else message)


class UpstreamUnavailableError(UpstreamError):
    """The server that completes prompts for this one cannot be reached, or is not ready; later it may be."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one completion is sampled.

    Args:
        max_tokens: Length limit of the completion, its end of turn included.
        temperature: Divides the logits; 0 is greedy.
        top_p: Samples among the fewest likeliest tokens whose probabilities reach this sum (Holtzman and others, The
            Curious Case of Neural Text Degeneration, 2020).
        seed: The same seed draws the same tokens, whatever else is in the batch, but for rounding. None draws one.
        stop_ids: Token ids that end the completion, beside the engine's own.
        top_logprobs: How many of the likeliest tokens each token comes with.

    Raises:
        RequestError: A setting is out of its range.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop_ids: tuple[int, ...] = ()
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise RequestError("max_tokens", f"{self.max_tokens} is too few; give at least 1")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise RequestError("temperature", f"{self.temperature} cannot be; give a number of at least 0")
        if not 0 < self.top_p <= 1:
            raise RequestError("top_p", f"{self.top_p} cannot be; give a number above 0 and at most 1")
        if not 0 <= self.top_logprobs <= MOST_TOP_LOGPROBS:
            raise RequestError("top_logprobs", f"{self.top_logprobs} cannot be had; give 0 to {MOST_TOP_LOGPROBS}")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a completion.

    Args:
        id: Its id; the one that ends the turn is among a completion's tokens.
        logprob: Log-prob under the model's own distribution: softmax(logits), before temperature and top-p.
        top_logprobs: Ids and log-probs of the likeliest tokens, descending, where they were asked for.
    """

    id: int
    logprob: float
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class _End:
    reason: FinishReason | None
    error: QwenLightningError | None = None


class Generation:
    """A completion under way. One reader iterates over its tokens, with `for` or, in an event loop, `async for`.

    The iteration ends with the completion; then `finish_reason` says why. It raises where the engine could not finish.
    A task that is cancelled in its `async for` cancels the completion.

    Args:
        prompt: Token ids.
        adapter: Name of the adapter that answers; None: the bare backbone.
        sampling: How.
        on_cancel: Tells the engine.
        accepted: Whether it is sure already that the completion is begun; else `accept` tells it.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        adapter: str | None,
        sampling: Sampling,
        on_cancel: Callable[[Generation], None],
        accepted: bool = True,
    ) -> None:
        self.prompt, self.adapter, self.sampling = list(prompt), adapter, sampling
        self.finish_reason: FinishReason | None = None
        self.cancelled: FinishReason | None = None  # as what it ends, once its reader wants no more
        self.overtaken = 0  # by how many that came later and were admitted before
        self._on_cancel = on_cancel
        self._events: SimpleQueue[Token | _End] = SimpleQueue()
        self._wake: Callable[[], object] = lambda: None
        self._accepted: Future[None] = Future()
        if accepted:
            self.accept()

    def cancel(self, reason: FinishReason = "cancelled") -> None:
        """Stop. Its place is free soon: in this process before the next step; of one that is done, nothing changes.

        Args:
            reason: What it ends as; of several calls' the first one's. `stop`: all that its reader needs was read.
        """
        self.cancelled = self.cancelled or reason
        self._on_cancel(self)

    async def accepted(self) -> None:
        """Wait until the completion is sure to be begun: until then a fault can be answered with a status.

        Raises:
            QwenLightningError: What kept it from that.
        """
        await asyncio.shield(asyncio.wrap_future(self._accepted))

    def __iter__(self) -> Iterator[Token]:
        while True:
            event = self._events.get()
            if isinstance(event, _End):
                self._finish(event)
                return
            yield event

    async def __aiter__(self) -> AsyncIterator[Token]:
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(news.set)
        try:
            while True:
                news.clear()  # before looking: what comes later sets it anew
                try:
                    event = self._events.get_nowait()
                except Empty:
                    await news.wait()
                    continue
                if isinstance(event, _End):
                    self._finish(event)
                    return
                yield event
        finally:
            self.cancel()  # where the reader's task was cancelled, as when a client goes; else there is nothing to stop

    def tokens(self) -> list[Token]:
        """All tokens, once the completion is done."""
        return list(self)

    # ------------------------------------------------------------------ the engine's side

    def accept(self) -> None:
        """Tell the reader that it is begun."""
        if not self._accepted.done():
            self._accepted.set_result(None)

    def put(self, token: Token) -> None:
        """Hand a token to the reader."""
        self._put(token)

    def end(self, reason: FinishReason) -> None:
        """Tell the reader that this was all."""
        self.accept()
        self._put(_End(reason))

    def fail(self, error: QwenLightningError) -> None:
        """Tell the reader that there will be no more, and why."""
        if not self._accepted.done():
            self._accepted.set_exception(error)
        self._put(_End(None, error))

    def _put(self, event: Token | _End) -> None:
        self._events.put(event)
        try:
            self._wake()
        except RuntimeError:  # the reader's event loop is closed, and with it the reader gone
            self.cancel()

    def _finish(self, event: _End) -> None:
        self._events.put(event)  # for whoever iterates again
        if event.error is not None:
            raise event.error
        self.finish_reason = event.reason


def in_one_line(error: BaseException) -> str:
    """An error's type, and its first line where it has one."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
