"""Chat requests on an engine: planned within limits, and their completions queued."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from qwen_lightning.errors import ConfigError, ExecutionError, RequestError
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
_MUCH_TOO_LONG = 8  # times the room: messages of so many tokens are not searched at all
_LONG = 1 << 16  # bytes of a request that is read apart from the others


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may ask for.

    Args:
        default_tokens: Longest completion where a request names no limit, in tokens; `max_tokens` where that is less.
        max_tokens: Longest completion that a request may name; None: what the engine has room for.
        choices: Most completions of one request.

    Raises:
        ConfigError: A limit is below 1.
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
        # Long requests take seconds, and have a thread of their own: the others do not wait behind them.
        self._long_pool = ThreadPoolExecutor(1, thread_name_prefix="long-prompts")
        self.queries = queries or QueryThreads()
        self._preparing = 0

    async def begin(self, request: ChatRequest) -> Job:
        """Plan a request and queue its completions.

        Raises:
            RequestError: It cannot be answered as it stands.
            QueueFullError: Too many wait.
            EngineClosedError: The server is shutting down.
        """
        return await self.read_and_begin(lambda: request, sum(len(message.content) for message in request.messages))

    async def read_and_begin(self, read: Callable[[], ChatRequest], size: int) -> Job:
        """Read a request, plan it and queue its completions; one that is cancelled before its turn is never read.

        Args:
            read: Reads it.
            size: Its size in bytes or characters: long ones wait for one another alone.

        Raises:
            RequestError: It is none, or cannot be answered as it stands.
            QueueFullError: Too many wait.
            EngineClosedError: The server is shutting down.
        """
        most = self.engine.limits.running + self.engine.limits.waiting
        if self._preparing >= most:
            raise QueueFullError(f"{self._preparing} requests are being read; try again later")
        self._preparing += 1
        try:
            request, plan, prompt = await self._in_pool(
                self._long_pool if size > _LONG else self._pool, lambda: self._prepare(read())
            )
            await self._check_database(request, plan)
        finally:
            self._preparing -= 1
        return Job(self, request, plan, prompt, self._submit(request, plan, prompt))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what takes a while without holding up the other requests' streams."""
        return await self._in_pool(self._pool, work)

    async def _in_pool(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

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
        """Stop the threads that read requests, and the tasks' executors."""
        for pool in (self._pool, self._long_pool):
            pool.shutdown(cancel_futures=True)
        self.queries.close()
        self.planner.tasks.close()

    async def _check_database(self, request: ChatRequest, plan: Plan) -> None:
        """See that there is the database that a request names; a server that does not answer holds up nobody else.

        Raises:
            RequestError: There is none.
            ExecutionError: Its server cannot be reached.
        """
        if request.database is None:
            return
        try:
            await self.queries.find(lambda: self.planner.check_database(request, plan))
        except TimeoutError:
            said = f"the server of the database {request.database!r} did not answer within {self.queries.seconds:g} s"
            raise ExecutionError(said) from None

    def _prepare(self, request: ChatRequest) -> tuple[ChatRequest, Plan, list[int]]:
        """The request with its plan, and the prompt's token ids."""
        places = self.engine.limits.running + self.engine.limits.waiting
        if request.n > places:
            raise RequestError("n", f"{request.n} is more than the {places} completions that this server takes at once")
        if request.n > self.limits.choices:
            raise RequestError("n", f"{request.n} is more than the {self.limits.choices} that this server gives")
        most = self.limits.max_tokens
        if most is not None and (request.most_tokens or 0) > most:
            said = f"{request.most_tokens} is more than the {most} that this server gives"
            raise RequestError(request.most_tokens_field, said)
        self.checker.prepare(request)
        # Routing and completing search the text many times over, which is not for one that is much too long.
        texts = [message.content for message in request.messages]
        read = self.renderer.tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        tokens = sum(map(len, read["input_ids"]))
        # Less than that may become short enough: a schema is written densely.
        if tokens >= _MUCH_TOO_LONG * self.engine.max_length:
            self._require_room("messages", tokens)
        plan = self.planner.decide(request)
        prompt = self.prompt_ids(plan.completion.prompt)
        self._require_room("a prompt", len(prompt))
        return request, plan, prompt

    def _require_room(self, what: str, tokens: int) -> None:
        """Refuse so many tokens that no room is left for a completion.

        Raises:
            PromptTooLongError: None is left.
        """
        if tokens >= self.engine.max_length:
            most = f"the {self.engine.max_length} that this server takes, the completion's included"
            raise PromptTooLongError("messages", f"{what} of {tokens} tokens: more than {most}; shorten it")

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
        except BaseException as error:
            for generation in made:
                generation.cancel()
            if isinstance(error, RequestError) and error.field == "max_tokens":
                raise RequestError(request.most_tokens_field, error.fault) from None
            raise
        return made
