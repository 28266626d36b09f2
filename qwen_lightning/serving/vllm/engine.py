"""VLLMEngine: completions from a vLLM server that has the same adapters."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from functools import partial
from threading import Condition, Lock, Thread
from traceback import extract_tb
from typing import Any, TypeVar

from qwen_lightning.errors import ConfigError, QwenLightningError
from qwen_lightning.serving.backend import FAILED, Backend
from qwen_lightning.serving.generation import (
    EngineClosedError,
    EngineFailedError,
    FinishReason,
    Generation,
    GenerationError,
    QueueFullError,
    Sampling,
    UpstreamError,
    UpstreamUnavailableError,
)
from qwen_lightning.serving.limits import BackendStats, Counts, Limits
from qwen_lightning.serving.vllm.client import VLLMClient, VLLMSettings
from qwen_lightning.serving.vllm.replies import CompletionReader, request_body
from qwen_lightning.serving.vllm.survey import ManifestLibrary, Served, require_same_weights, survey

T = TypeVar("T")
Completing = asyncio.Task[FinishReason | QwenLightningError]

_WATCH_S = 5.0  # between two looks at the server
_LOOK_S = 10.0  # longest wait for its answer
_AWAY = "the vLLM server cannot be reached, or is not ready"
_CHANGED = "the vLLM server no longer has the models that it had"
log = logging.getLogger(__name__)


class VLLMEngine(Backend):
    """Completes prompts on a vLLM server: one request there for each completion, which is aborted with it.

    All of it runs in an event loop on a thread of its own; as many completions as `limits.running` are at vLLM at
    once, the others wait here in the order in which they came.

    Args:
        settings: Where the server is.
        library: The adapters, all of which it must have under their names.
        model: The backbone, a hub id or a folder.
        eos_ids: Ids that end every completion.
        limits: What is taken on; `cache_tokens`, `prefill_tokens` and `adapters` are vLLM's to decide.
        served_model: The backbone's name on the server, where it has another.

    Raises:
        ConfigError: The server cannot be reached, has another backbone, lacks an adapter, or is too short.
    """

    def __init__(
        self,
        settings: VLLMSettings,
        library: ManifestLibrary,
        model: str,
        eos_ids: Sequence[int],
        limits: Limits | None = None,
        served_model: str | None = None,
    ) -> None:
        super().__init__(library, limits or Limits())
        self.settings, self.eos_ids = settings, frozenset(eos_ids)
        self._adapters, self._model, self._served_model = library, model, served_model
        self._counts = Counts()
        self._running = 0
        self._status, self._detail = "ok", ""
        self._changed = Condition()  # guards what follows
        self._open: dict[Generation, Completing | None] = {}  # None: the loop has not taken it up yet
        self._deadline: float | None = None  # of the shutdown
        self._lost: BaseException | None = None  # what ended the loop
        self._ending = Lock()
        self._client = VLLMClient(settings, self.limits.running)
        self._places = asyncio.Semaphore(self.limits.running)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._work, name="vllm", daemon=True)
        self._thread.start()
        self._watching: asyncio.Task[None] | None = None
        try:
            self._served = self._wait_for(self._begin())
        except QwenLightningError as error:
            self.close()
            remedy = f"; start it with: {library.command()}" if isinstance(error, UpstreamUnavailableError) else ""
            raise ConfigError(f"--url {settings.url}: {error}{remedy}") from None
        except BaseException:
            self.close()
            raise

    @property
    def max_length(self) -> int:  # type: ignore[override]  # read only: it is the server's
        """Tokens that a prompt and its completion may have together."""
        return self._longest(self._served)

    def submit(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling | None = None) -> Generation:
        sampling = sampling or Sampling()
        self.require_possible(prompt, adapter, sampling)
        generation = Generation(prompt, adapter, sampling, self._cancel, accepted=False)
        with self._changed:
            if self._lost is not None:
                raise EngineFailedError(self._lost)
            if self._deadline is not None:
                raise EngineClosedError("the server is shutting down; it takes no more requests")
            if len(self._open) >= self.limits.running + self.limits.waiting:
                self._counts.refused += 1
                raise QueueFullError(f"{len(self._open)} requests are under way or wait; try again later")
            self._open[generation] = None
            self._loop.call_soon_threadsafe(self._start, generation)
        return generation

    def stats(self) -> BackendStats:
        with self._changed:
            counts = dataclasses.replace(self._counts, finished=Counter(self._counts.finished))
            running = self._running
            return BackendStats(running=running, waiting=len(self._open) - running, counts=counts)

    @property
    def status(self) -> str:
        if self._lost is not None:
            return FAILED
        return self._status if self._deadline is None else "shutting down"

    @property
    def failure(self) -> EngineFailedError | None:
        return None if self._lost is None else EngineFailedError(self._lost)

    def close(self, grace: float = 0.0) -> None:
        with self._changed:
            end = time.monotonic() + grace
            self._deadline = end if self._deadline is None else min(self._deadline, end)
            self._changed.notify_all()
        with self._ending:
            if not self._thread.is_alive():
                return
            with self._changed:
                while self._open and (left := self._deadline - time.monotonic()) > 0:
                    self._changed.wait(left)
            self._wait_for(self._end_all())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _cancel(self, generation: Generation) -> None:
        with self._changed:
            # While one is open, so is the loop.
            if generation in self._open:
                self._loop.call_soon_threadsafe(self._stop, generation)

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # ------------------------------------------------------------------ the loop's side

    def _work(self) -> None:
        try:
            self._loop.run_forever()
        except BaseException as error:  # nobody is to wait for what will never come
            log.exception("the engine stops")
            with self._changed:
                self._lost = error
                left, self._open = list(self._open), {}
                self._counts.finished["error"] += len(left)
            for generation in left:
                generation.fail(EngineFailedError(error))
        finally:
            self._loop.close()

    async def _begin(self) -> Served:
        cards = await self._client.models(_LOOK_S)
        served = survey(cards, self._adapters, self._model, self._served_model)
        self._longest(served)
        await asyncio.to_thread(require_same_weights, cards, self._adapters)
        self._watching = asyncio.create_task(self._watch())
        return served

    async def _watch(self) -> None:
        """Look again and again whether the server is there, and what it has."""
        while True:
            await asyncio.sleep(_WATCH_S)
            try:
                cards = await self._client.models(_LOOK_S)
                served = survey(cards, self._adapters, self._model, self._served_model)
                self._longest(served)
                if self._status != "ok":  # one that was started anew reads its adapters anew
                    await asyncio.to_thread(require_same_weights, cards, self._adapters)
            except ConfigError as error:
                self._tell(_CHANGED, str(error))
            except QwenLightningError as error:
                self._tell(_AWAY, str(error))
            else:
                self._served = served
                self._tell("ok", "it is there again")

    def _tell(self, status: str, detail: str) -> None:
        if status != self._status or (status == _CHANGED and detail != self._detail):
            log.warning("vLLM at %s: %s", self.settings.url, detail)
        self._status, self._detail = status, detail

    def _longest(self, served: Served) -> int:
        """Tokens of a prompt and its completion.

        Raises:
            ConfigError: The server does not say how many it takes, or takes fewer than are wanted.
        """
        wanted = self.limits.length
        if served.max_length is None:
            if wanted is None:
                raise ConfigError("the vLLM server names no max_model_len; give --length")
            return wanted
        if wanted is not None and wanted > served.max_length:
            raise ConfigError(
                f"length is {wanted}, and the vLLM server takes {served.max_length}; "
                f"start it with --max-model-len {wanted}"
            )
        return wanted or served.max_length

    def _start(self, generation: Generation) -> None:
        self._open[generation] = task = self._loop.create_task(self._complete(generation))
        task.add_done_callback(partial(self._done, generation))

    def _stop(self, generation: Generation) -> None:
        if (task := self._open.get(generation)) is not None:
            task.cancel()

    async def _end_all(self) -> None:
        """Fail what is left, and drop the connections."""
        tasks = [task for task in (*self._open.values(), self._watching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def _complete(self, generation: Generation) -> FinishReason | QwenLightningError:
        try:
            async with self._places:
                with self._changed:
                    self._running += 1
                try:
                    return await self._read(generation)
                finally:
                    with self._changed:
                        self._running -= 1
        except QwenLightningError as error:
            if isinstance(error, UpstreamUnavailableError):
                self._tell(_AWAY, error.message)
            elif isinstance(error, UpstreamError):
                log.warning("vLLM at %s: %s", self.settings.url, error.message)
            return error
        except Exception as error:  # whatever it is, the completion's reader waits for an answer
            # Its words could be the request's: they are not logged.
            log.error("a completion failed: %s at %s", type(error).__name__, extract_tb(error.__traceback__)[-1])
            return GenerationError(f"the server failed at this completion ({type(error).__name__}); send it again")

    async def _read(self, generation: Generation) -> FinishReason:
        """Hand on the tokens as they come; returns how the completion ended."""
        model = generation.adapter or self._served.base
        reader = CompletionReader(generation.sampling, self.eos_ids, self._client.wrong)
        async with self._client.completion(request_body(model, generation, self.eos_ids)) as chunks:
            generation.accept()
            async for choice in chunks:
                tokens = reader.read(choice)
                with self._changed:
                    if tokens and reader.count == len(tokens):
                        self._counts.prompt_tokens += len(generation.prompt)
                    self._counts.completion_tokens += len(tokens)
                for token in tokens:
                    generation.put(token)
                if reader.finish_reason is not None:
                    await self._client.drain(chunks)
                    return reader.finish_reason
        raise self._client.wrong("the stream ended before the completion")

    def _done(self, generation: Generation, task: Completing) -> None:
        end: FinishReason | QwenLightningError
        if not task.cancelled():
            end = task.result()
        elif generation.cancelled is not None:
            end = generation.cancelled
        else:
            end = EngineClosedError("the server was shut down before the completion was done")
        with self._changed:
            del self._open[generation]
            self._counts.finished[end if isinstance(end, str) else "error"] += 1
            self._changed.notify_all()
        if isinstance(end, str):
            generation.end(end)
        else:
            generation.fail(end)
