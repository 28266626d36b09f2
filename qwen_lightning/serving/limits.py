"""What an engine takes on, and what it has done. Imports no torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from qwen_lightning.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine takes on.

    Args:
        running: Completions decoded at once.
        waiting: Completions that wait for a place; more are refused.
        length: Tokens of a prompt and its completion; None: as many as the model was made for and the store holds.
        cache_tokens: Tokens whose keys and values are held at once. None plans them from the free memory of a GPU; on
            a CPU it is 65,536 at most.
        prefill_tokens: Tokens of prompts a step: a long prompt comes in parts, so that the others go on meanwhile.
        adapters: Adapters that lie on the backbone at once.

    Raises:
        ConfigError: A limit is below 1, or `waiting` below 0.
    """

    running: int = 64
    waiting: int = 256
    length: int | None = None
    cache_tokens: int | None = None
    prefill_tokens: int = 512
    adapters: int = 8

    def __post_init__(self) -> None:
        for name in ("running", "length", "cache_tokens", "prefill_tokens", "adapters"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        if self.waiting < 0:
            raise ConfigError(f"waiting is {self.waiting}; it must be at least 0")


@dataclass(slots=True)
class Counts:
    """What a backend has done since it began.

    Args:
        prompt_tokens: Tokens of prompts that went through the model.
        completion_tokens: Tokens sampled.
        refused: Completions refused because too many waited.
        finished: Completions by finish reason, and `error`.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    refused: int = 0
    finished: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class EngineCounts(Counts):
    """What an engine has done since it began.

    Args:
        steps: Forward passes.
        failed_steps: Those that ended in an exception.
    """

    steps: int = 0
    failed_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStats:
    """A backend's state.

    Args:
        running: Completions under way.
        waiting: Completions that wait.
        counts: What was done so far.
    """

    running: int
    waiting: int
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats(BackendStats):
    """An engine's state.

    Args:
        running: Completions in the batch.
        waiting: Completions that wait.
        cache_taken: Tokens of the store that are taken, whole blocks counted.
        cache_tokens: Tokens that the store holds.
        adapters: Those on the backbone, the latest used last.
        adapter_loads: How often one was loaded.
        counts: What was done so far.
    """

    counts: EngineCounts
    cache_taken: int
    cache_tokens: int
    adapters: tuple[str, ...]
    adapter_loads: int
