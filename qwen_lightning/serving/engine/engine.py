"""Continuous batching: one thread that owns the model, and completions that come and go at every step of it."""

from __future__ import annotations

import atexit
import dataclasses
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from itertools import islice
from threading import Condition, Thread

import torch
from transformers import PreTrainedModel

from qwen_lightning.errors import AdapterError, ConfigError, QwenLightningError, RequestError
from qwen_lightning.serving.backend import FAILED, Backend
from qwen_lightning.serving.engine.adapters import AdapterLibrary, AdapterSlots
from qwen_lightning.serving.engine.batch import Batch
from qwen_lightning.serving.engine.runner import ModelRunner, Running, require_servable
from qwen_lightning.serving.engine.weights import ServedWeights
from qwen_lightning.serving.generation import (
    AdapterUnavailableError,
    EngineClosedError,
    EngineFailedError,
    FinishReason,
    Generation,
    GenerationError,
    QueueFullError,
    Sampling,
    Token,
    in_one_line,
)
from qwen_lightning.serving.limits import EngineCounts, EngineStats, Limits

_LAST_STEP_S = 10.0  # a step that takes longer is not waited for when the interpreter ends
log = logging.getLogger(__name__)


class Engine(Backend):
    """Completes prompts on one backbone with many adapters, those of one moment in one batch.

    Completions are admitted in the order in which they came, as soon as there is a place in the batch, room for the
    prompt and the longest completion, and a slot for the adapter. So none that was admitted is ever put back. Who
    waits for a slot is overtaken by those whose adapter has one, but not more often than completions are decoded at
    once: then all wait for it.

    Args:
        backbone: The model, without adapters of its own. It belongs to the engine from now on.
        library: The adapters.
        eos_ids: Ids that end every completion.
        limits: What it takes on.

    Raises:
        ConfigError: The model's architecture cannot be served, or the limits do not go together.
    """

    def __init__(
        self, backbone: PreTrainedModel, library: AdapterLibrary, eos_ids: Sequence[int], limits: Limits | None = None
    ) -> None:
        require_servable(backbone)
        super().__init__(library, limits or Limits())
        self.eos_ids = frozenset(eos_ids)
        slots = max(1, min(self.limits.adapters, len(library)))
        weights = ServedWeights(backbone, (folder.ranks for folder in library.values()), slots)
        self._counts = EngineCounts()
        runner = ModelRunner(backbone, weights, self.limits)
        self._batch = Batch(runner, AdapterSlots(library, weights), self.limits, self._counts)
        self._vocabulary = int(backbone.config.vocab_size)
        self._device = runner.decoder.device
        self.max_length = _longest(self.limits, int(backbone.config.max_position_embeddings), runner.kv.tokens)
        self._changed = Condition()  # guards what follows; the batch is the worker's alone
        self._waiting: deque[Generation] = deque()
        self._open = 0  # completions that were taken and have not ended
        self._deadline: float | None = None  # of the shutdown
        self._lost: Exception | None = None  # what ended the worker
        self._worker = Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()
        atexit.register(self._end_before_interpreter)

    def submit(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling | None = None) -> Generation:
        sampling = sampling or Sampling()
        self._check(prompt, adapter, sampling)
        generation = Generation(prompt, adapter, sampling, self._cancel)
        with self._changed:
            if self._lost is not None:
                raise EngineFailedError(self._lost)
            if self._deadline is not None:
                raise EngineClosedError("the server is shutting down; it takes no more requests")
            if self._open >= self.limits.running + self.limits.waiting:
                self._counts.refused += 1
                raise QueueFullError(f"{self._open} requests are under way or wait; try again later")
            self._open += 1
            self._waiting.append(generation)
            self._changed.notify_all()
        return generation

    def stats(self) -> EngineStats:
        batch, adapters, kv = self._batch, self._batch.adapters, self._batch.runner.kv
        with self._changed:
            counts = dataclasses.replace(self._counts, finished=Counter(self._counts.finished))
        return EngineStats(
            running=len(batch.running),
            waiting=len(self._waiting),
            cache_taken=kv.taken,
            cache_tokens=kv.tokens,
            adapters=adapters.loaded,
            adapter_loads=adapters.loads,
            counts=counts,
        )

    @property
    def status(self) -> str:
        if self._lost is not None:
            return FAILED
        return "ok" if self._deadline is None else "shutting down"

    @property
    def failure(self) -> EngineFailedError | None:
        return None if self._lost is None else EngineFailedError(self._lost)

    def close(self, grace: float = 0.0) -> None:
        self._shorten_to(grace)
        self._worker.join()
        atexit.unregister(self._end_before_interpreter)

    def _shorten_to(self, grace: float) -> None:
        with self._changed:
            end = time.monotonic() + grace
            self._deadline = end if self._deadline is None else min(self._deadline, end)
            self._changed.notify_all()

    def _end_before_interpreter(self) -> None:
        """Where nobody closed it: a thread that the interpreter's end meets inside torch aborts the process."""
        self._shorten_to(0.0)
        self._worker.join(_LAST_STEP_S)

    def _check(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling) -> None:
        if not all(0 <= token < self._vocabulary for token in prompt):
            raise RequestError("messages", f"the prompt has ids outside of the model's 0 … {self._vocabulary - 1}")
        self.require_possible(prompt, adapter, sampling)

    def _cancel(self, generation: Generation) -> None:
        with self._changed:
            if generation not in self._waiting:
                return
            self._waiting.remove(generation)
        self._end(generation, generation.cancelled or "cancelled")

    # ------------------------------------------------------------------ the worker's side

    def _work(self) -> None:
        end: QwenLightningError = EngineClosedError("the server was shut down before the completion was done")
        try:
            with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
                while self._await_work():
                    self._step()
                for running in list(self._batch.running):
                    self._leave(running, end)
        except Exception as error:  # a device that is lost, say: nobody is to wait for what will never come
            log.exception("the engine stops")
            end = _failure(error)
            self._lost = error
        with self._changed:
            self._deadline = time.monotonic()
            for generation in [*(running.generation for running in self._batch.running), *self._waiting]:
                self._end(generation, end)
            self._batch.running.clear()
            self._waiting.clear()

    def _await_work(self) -> bool:
        """Whether there is any; False when the engine is to stop."""
        with self._changed:
            while not self._waiting and not self._batch.running:
                if self._deadline is not None:
                    return False
                self._changed.wait()
            return self._deadline is None or time.monotonic() < self._deadline

    def _step(self) -> None:
        for running in list(self._batch.running):
            if running.generation.cancelled is not None:
                self._leave(running, running.generation.cancelled)
        self._admit()
        parts = self._batch.plan()
        if not parts:
            return
        try:
            tokens = self._batch.step(parts)
        except Exception as error:  # whatever it is, the other completions' readers wait for an answer
            log.exception("a step of %d completions failed", len(parts))
            self._counts.failed_steps += 1
            for part in parts:
                self._leave(part.running, _failure(error))
            return
        for running, token in tokens:
            self._deliver(running, token)

    def _admit(self) -> None:
        """Take in who waits while there is room."""
        while True:
            with self._changed:
                place = self._next()
                if place is None:
                    return
                generation = self._waiting[place]
                del self._waiting[place]
            if generation.cancelled is not None:
                self._end(generation, generation.cancelled)
                continue
            try:
                admitted = self._batch.admit(generation)
            except AdapterError as error:  # it says where the folder lies, which is no client's business
                log.error("adapter %s cannot be loaded: %s", generation.adapter, error)
                said = f"the adapter {generation.adapter!r} cannot be loaded; the server's log says why"
                self._end(generation, AdapterUnavailableError(said))
                continue
            except Exception as error:  # such as a GPU's memory that is full: this one's fault alone
                log.exception("adapter %s was not loaded", generation.adapter)
                self._end(generation, _failure(error))
                continue
            with self._changed:
                if not admitted:
                    self._waiting.insert(place, generation)
                    return
                for earlier in islice(self._waiting, place):
                    earlier.overtaken += 1

    def _next(self) -> int | None:
        """Place in the queue of the next to be admitted; None while none may be."""
        for place, generation in enumerate(self._waiting):
            name = generation.adapter
            if generation.cancelled is not None or name is None or self._batch.adapters.available(name):
                return place
            if generation.overtaken >= self.limits.running:
                break
        return None

    def _deliver(self, running: Running, token: Token) -> None:
        generation = running.generation
        if not math.isfinite(token.logprob):
            of = "the bare backbone" if generation.adapter is None else f"adapter {generation.adapter!r}"
            self._leave(running, GenerationError(f"{of} gave a token no finite probability; check its weights"))
            return
        generation.put(token)
        if token.id in self.eos_ids or token.id in generation.sampling.stop_ids:
            self._leave(running, "stop")
        elif len(running.ids) - len(generation.prompt) == generation.sampling.max_tokens:
            self._leave(running, "length")

    def _leave(self, running: Running, end: FinishReason | QwenLightningError) -> None:
        """Free what a completion held, then tell its reader."""
        # Until a token with a finite probability has come of it, the room may hold NaN, and nobody knows.
        unproven = len(running.ids) == len(running.generation.prompt)
        try:
            self._batch.remove(running, wipe=unproven or not isinstance(end, str))
        finally:
            self._end(running.generation, end)

    def _end(self, generation: Generation, end: FinishReason | QwenLightningError) -> None:
        with self._changed:
            self._open -= 1
            self._counts.finished[end if isinstance(end, str) else "error"] += 1
        if isinstance(end, str):
            generation.end(end)
        else:
            generation.fail(end)


def _longest(limits: Limits, made_for: int, held: int) -> int:
    """Tokens of a prompt and its completion.

    Raises:
        ConfigError: The limit is beyond what the model was made for, or what the store holds.
    """
    if limits.length is None:
        return min(made_for, held)
    if limits.length > made_for:
        raise ConfigError(f"length is {limits.length}, and the model was made for {made_for}")
    if limits.length > held:
        raise ConfigError(
            f"length is {limits.length}, and keys and values of {held} tokens are held; raise cache_tokens"
        )
    return limits.length


def _failure(error: Exception) -> GenerationError:
    return GenerationError(f"the engine failed at this completion ({in_one_line(error)}); send it again")
