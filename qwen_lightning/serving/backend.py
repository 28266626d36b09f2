"""What a server needs of whatever completes its prompts: a model in this process, or a server of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from qwen_lightning.errors import RequestError
from qwen_lightning.serving.generation import EngineFailedError, Generation, Sampling
from qwen_lightning.serving.library import ServedAdapter
from qwen_lightning.serving.limits import BackendStats, Limits

#: The status of a backend that was lost.
FAILED = "the model has failed; start the server anew"


class Backend(ABC):
    """Completes prompts under many adapters of one backbone.

    Args:
        library: The adapters.
        limits: What it takes on.
    """

    #: Tokens that a prompt and its completion may have together.
    max_length: int

    def __init__(self, library: Mapping[str, ServedAdapter], limits: Limits) -> None:
        self.library, self.limits = library, limits

    @abstractmethod
    def submit(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling | None = None) -> Generation:
        """Queue a completion; from any thread, and at once.

        Args:
            prompt: Token ids.
            adapter: Name of the adapter; None: the bare backbone.
            sampling: How; greedy unless given.

        Raises:
            RequestError: There is no such adapter, or the prompt is empty or too long. A model in this process also
                refuses ids that are not its own.
            QueueFullError: Too many wait.
            EngineClosedError: It is shutting down, or has failed.
        """

    @abstractmethod
    def stats(self) -> BackendStats:
        """The state now; from any thread."""

    @property
    @abstractmethod
    def status(self) -> str:
        """`ok`, or in a few words why requests are not taken."""

    @property
    @abstractmethod
    def failure(self) -> EngineFailedError | None:
        """What ended it for good without a `close`; None: nothing has."""

    @property
    def healthy(self) -> bool:
        """Whether requests are taken."""
        return self.status == "ok"

    @abstractmethod
    def close(self, grace: float = 0.0) -> None:
        """Take no more requests, finish those that there are, and stop; returns when all is done.

        A further call, from another thread, can shorten the time.

        Args:
            grace: Seconds after which those that are not finished fail with `EngineClosedError`.
        """

    def require_possible(self, prompt: Sequence[int], adapter: str | None, sampling: Sampling) -> None:
        """Refuse what can never be completed.

        Raises:
            RequestError: There is no such adapter, or the prompt is empty or too long.
        """
        if adapter is not None and adapter not in self.library:
            raise RequestError(
                "model", f"there is no adapter {adapter!r}; there are {', '.join(self.library) or 'none'}"
            )
        if not prompt:
            raise RequestError("messages", "the prompt is empty")
        if len(prompt) + sampling.max_tokens > self.max_length:
            raise RequestError(
                "max_tokens",
                f"a prompt of {len(prompt)} tokens and a completion of up to {sampling.max_tokens} are more than the "
                f"{self.max_length} that this server takes; shorten the prompt or ask for fewer tokens",
            )
