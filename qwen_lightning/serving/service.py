"""Chat requests on an engine: planned within limits, and their completions queued."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from qwen_lightning.errors import ConfigError, RequestError
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.serving.backend import Backend
from qwen_lightning.serving.checking import AnswerChecker
from qwen_lightning.serving.generation import Generation, QueueFullError, Sampling
from qwen_lightning.serving.job import Job
from qwen_lightning.serving.query_threads import QueryThreads
from qwen_lightning.serving.requests import ChatRequest
from qwen_lightning.serving.routing.planning import Plan, Planner
from qwen_lightning.serving.routing.router import BASE
from qwen_lightning.tasks.base import Prompt

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may ask for.

    Args:
        default_tokens: Longest completion where a request names no limit, in tokens.
        max_tokens: Longest completion that a request may name; None: what the engine has room for.
        choices: Most completions of one request.

    Raises:
        ConfigError: A limit is below 1, or the default above the most.
    """

    default_tokens: int = 512
    max_tokens: int | None = None
    choices: int = 16

    def __post_init__(self) -> None:
        for name in ("default_tokens", "max_tokens", "choices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")


class PromptTooLongError(RequestError):
    """A prompt that leaves no room for a completion."""


class ChatService:
    """Answers chat requests.

    Args:
        engine: Completes prompts.
        planner: Routes requests and builds their prompts.
        renderer: Renders prompts to token ids.
        checker: Checks answers.
        limits: What one request may ask for.
        queries: Where databases are asked.
    """

    def __init__(
        self,
        engine: Backend,
        planner: Planner,
        renderer: ChatRenderer,
        checker: AnswerChecker | None = None,
        limits: RequestLimits | None = None,
        queries: QueryThreads | None = None,
    ) -> None:
        self.engine, self.planner, self.renderer = engine, planner, renderer
        self.checker, self.limits = checker or AnswerChecker(planner.tasks), limits or RequestLimits()
        # One thread: tokenizers and parsers hold the GIL, and the engine's thread is to have it too.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prompts")
        self.queries = queries or QueryThreads()
        self._preparing = 0

    async def begin(self, request: ChatRequest) -> Job:
        """Plan a request and queue its completions.

        Raises:
            RequestError: It cannot be answered as it stands.
            QueueFullError: Too many wait.
            EngineClosedError: The server is shutting down.
        """
        most = self.engine.limits.running + self.engine.limits.waiting
        if self._preparing >= most:
            raise QueueFullError(f"{self._preparing} requests are being read; try again later")
        self._preparing += 1
        try:
            plan, prompt = await self.in_thread(lambda: self._prepare(request))
        finally:
            self._preparing -= 1
        return Job(self, request, plan, prompt, self._submit(request, plan, prompt))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what takes a while without holding up the other requests' streams."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt.

        Raises:
            RequestError: The model's chat template refuses the conversation.
        """
        try:
            return self.renderer.prompt_ids(prompt)
        except ConfigError as error:
            raise RequestError("messages", str(error)) from None

    def fingerprint(self, adapter: str) -> str | None:
        """What changes when an adapter's weights do; None for the bare backbone."""
        folder = self.engine.library.get(adapter)
        return None if folder is None else f"fp_{folder.manifest.sha256[:12]}"

    def close(self) -> None:
        """Stop the thread that reads requests, and the tasks' executors."""
        self._pool.shutdown()
        self.queries.close()
        self.planner.tasks.close()

    def _prepare(self, request: ChatRequest) -> tuple[Plan, list[int]]:
        """The plan, and the prompt's token ids."""
        if request.n > self.limits.choices:
            raise RequestError("n", f"{request.n} is more than the {self.limits.choices} that this server gives")
        most = self.limits.max_tokens
        if most is not None and (request.most_tokens or 0) > most:
            raise RequestError("max_tokens", f"{request.most_tokens} is more than the {most} that this server gives")
        self.checker.prepare(request)
        plan = self.planner.plan(request)
        prompt = self.prompt_ids(plan.completion.prompt)
        if len(prompt) >= self.engine.max_length:
            said = f"a prompt of {len(prompt)} tokens is more than this server takes, {self.engine.max_length} with the"
            raise PromptTooLongError("messages", f"{said} completion; shorten it")
        return plan, prompt

    def sampling(self, request: ChatRequest, prompt: int, index: int = 0) -> Sampling:
        """How a choice is sampled: greedily unless the request says otherwise, within the room after its prompt.

        Args:
            request: The request.
            prompt: Tokens of the prompt.
            index: Of the choice; each has a seed of its own.
        """
        most = request.most_tokens
        if most is None:
            most = min(self.limits.default_tokens, self.limits.max_tokens or self.limits.default_tokens)
            most = max(1, min(most, self.engine.max_length - prompt))
        return Sampling(
            max_tokens=most,
            temperature=request.temperature or 0.0,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=None if request.seed is None else request.seed + index,
            top_logprobs=request.top_logprobs or 0,
        )

    def _submit(self, request: ChatRequest, plan: Plan, prompt: list[int]) -> list[Generation]:
        """All choices, or none."""
        adapter = None if plan.decision.adapter == BASE else plan.decision.adapter
        made: list[Generation] = []
        try:
            for index in range(request.n):
                made.append(self.engine.submit(prompt, adapter, self.sampling(request, len(prompt), index)))  # noqa: PERF401  those made are cancelled where one is refused
        except BaseException:
            for generation in made:
                generation.cancel()
            raise
        return made
