"""Chat requests on an engine: planned, submitted, read, checked, and asked once more where an answer fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from qwen_lightning.errors import ConfigError, RequestError
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.serving.answers import Answer, CallHold, split
from qwen_lightning.serving.checking import AnswerChecker
from qwen_lightning.serving.engine import Engine
from qwen_lightning.serving.generation import Generation, GenerationError, QueueFullError, Sampling, Token
from qwen_lightning.serving.outcomes import Finding, Outcome, Piece
from qwen_lightning.serving.planning import Plan, Planner
from qwen_lightning.serving.requests import ChatRequest
from qwen_lightning.serving.router import BASE
from qwen_lightning.serving.text import TextStream
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
    """

    def __init__(
        self,
        engine: Engine,
        planner: Planner,
        renderer: ChatRenderer,
        checker: AnswerChecker | None = None,
        limits: RequestLimits | None = None,
    ) -> None:
        self.engine, self.planner, self.renderer = engine, planner, renderer
        self.checker, self.limits = checker or AnswerChecker(planner.tasks), limits or RequestLimits()
        # One thread: tokenizers and parsers hold the GIL, and the engine's thread is to have it too.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prompts")
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


class Job:
    """A request under way. One reader iterates over `events`, or awaits `outcomes`.

    Args:
        service: Whose it is.
        request: The request.
        plan: Where it went.
        prompt: Token ids of its prompt.
        generations: Its choices.
    """

    def __init__(
        self, service: ChatService, request: ChatRequest, plan: Plan, prompt: list[int], generations: list[Generation]
    ) -> None:
        self.request, self.plan = request, plan
        self.tools = [tool.function.name for tool in request.usable_tools]
        self.answer = Answer(
            plan.decision,
            service.fingerprint(plan.decision.adapter),
            service.renderer,
            request.logprobs,
            self.tools,
            request.parallel_tool_calls,
        )
        self._service, self._prompt, self._generations = service, prompt, generations
        self._buffered = service.checker.may_repair(request, plan)

    def cancel(self) -> None:
        """Stop all choices; their places are free before the engine's next step."""
        for generation in self._generations:
            generation.cancel()

    async def outcomes(self) -> list[Outcome]:
        """All choices, once they are done.

        Raises:
            QwenLightningError: One could not be finished.
        """
        async with aclosing(self.events()) as events:
            found = [event async for event in events if isinstance(event, Outcome)]
        return sorted(found, key=lambda outcome: outcome.index)

    async def events(self) -> AsyncGenerator[Piece | Outcome, None]:
        """Pieces of all choices as they come, and each one's outcome; ending the iteration early cancels them.

        Raises:
            QwenLightningError: A choice could not be finished.
        """
        queue: asyncio.Queue[Piece | Outcome | BaseException] = asyncio.Queue()
        tasks = [
            asyncio.create_task(self._read(index, generation, queue))
            for index, generation in enumerate(list(self._generations))
        ]
        try:
            left = len(tasks)
            while left:
                event = await queue.get()
                if isinstance(event, BaseException):
                    raise event
                left -= isinstance(event, Outcome)
                yield event
        finally:
            self.cancel()
            for task in tasks:
                task.cancel()

    def usage(self, outcomes: list[Outcome]) -> dict[str, Any]:
        """Tokens read and generated, second answers included."""
        prompt = len(self._prompt) + sum(outcome.prompt_tokens for outcome in outcomes)
        completion = sum(outcome.completion_tokens for outcome in outcomes)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    async def _read(
        self, index: int, generation: Generation, queue: asyncio.Queue[Piece | Outcome | BaseException]
    ) -> None:
        try:
            outcome = await self._complete(index, generation, None if self._buffered else queue.put_nowait)
            outcome = replace(outcome, finding=await self._check(outcome.text))
            if self._buffered:
                if outcome.finding is not None and outcome.finding.passed is False and outcome.finish_reason == "stop":
                    outcome = await self._ask_again(outcome)
                shown = split(outcome.text, self.tools, self.request.parallel_tool_calls)[0] or ""
                queue.put_nowait(Piece(index, shown, outcome.tokens))
            queue.put_nowait(outcome)
        except Exception as error:  # whatever it is, the reader waits for it
            queue.put_nowait(error)

    async def _check(self, text: str) -> Finding | None:
        checker = self._service.checker
        if not checker.applies(self.request, self.plan):
            return None
        return await self._service.in_thread(lambda: checker.check(self.request, self.plan, text))

    async def _ask_again(self, first: Outcome) -> Outcome:
        """The second answer where it passes, else the first; it counts in usage either way."""
        service, finding = self._service, first.finding
        assert finding is not None
        prompt = service.checker.second(self.plan.completion.prompt, first.text, finding)
        try:
            ids = await service.in_thread(lambda: service.prompt_ids(prompt))
            sampling = service.sampling(self.request, len(ids), first.index)
            generation = service.engine.submit(ids, self._generations[first.index].adapter, sampling)
        except (
            RequestError,
            QueueFullError,
        ):  # no room for it: the first answer stands, and its verdict says what it is
            return first
        self._generations.append(generation)
        second = await self._complete(first.index, generation, None)
        judged = await self._check(second.text)
        count = first.completion_tokens + second.completion_tokens
        if judged is not None and judged.passed is False:
            return replace(first, prompt_tokens=len(ids), completion_tokens=count)
        return replace(second, finding=judged, repaired=True, prompt_tokens=len(ids), completion_tokens=count)

    async def _complete(self, index: int, generation: Generation, put: Callable[[Piece], None] | None) -> Outcome:
        """Read one completion; its pieces are put as they come."""
        text, hold = TextStream(self._service.renderer, self.request.stop), CallHold(bool(self.tools))
        whole, tokens, pending, count = "", list[Token](), list[Token](), 0

        def release(piece: str) -> None:
            tokens.extend(pending)
            if put is not None:
                put(Piece(index, piece, tuple(pending)))
            pending.clear()

        async with aclosing(aiter(generation)) as coming:  # type: ignore[type-var]
            async for token in coming:
                count += 1
                if token.id not in self._service.renderer.eos_ids:
                    pending.append(token)
                piece = text.add(token.id)
                whole += piece
                if piece and (shown := hold.add(piece)):
                    release(shown)
                if text.stopped is not None:
                    break
        if text.stopped is None and generation.finish_reason not in ("stop", "length"):
            raise GenerationError("the completion was cancelled")
        piece = text.end()
        whole += piece
        content, calls = split(whole, self.tools)
        shown = hold.add(piece) + hold.end(content, bool(calls))
        if text.stopped is not None and not shown:
            pending.clear()  # they spell the stop string, which is no part of the answer
        if shown or pending:
            release(shown)
        reason = "length" if text.stopped is None and generation.finish_reason == "length" else "stop"
        return Outcome(index, whole, tuple(tokens), reason, 0, count)  # type: ignore[arg-type]
