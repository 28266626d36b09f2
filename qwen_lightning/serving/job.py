"""A request under way: its choices are read, checked, and asked for once more where they fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qwen_lightning.errors import RequestError
from qwen_lightning.serving.answers import Answer, CallHold, split
from qwen_lightning.serving.generation import EngineClosedError, Generation, GenerationError, QueueFullError, Token
from qwen_lightning.serving.outcomes import Finding, Outcome, Piece
from qwen_lightning.serving.requests import ChatRequest
from qwen_lightning.serving.routing.planning import Plan
from qwen_lightning.serving.text import TextStream

if TYPE_CHECKING:
    from qwen_lightning.serving.service import ChatService


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
        """Stop all choices."""
        for generation in self._generations:
            generation.cancel()

    async def accepted(self) -> None:
        """Wait until the first choice is sure to be begun; the others may wait for its place.

        Raises:
            QwenLightningError: What kept it from that.
        """
        await self._generations[0].accepted()

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
        # Queries are analysed in processes that may be busy, and explained by a server that may be silent.
        within = self._service.queries.need if checker.asks_workers(self.plan) else self._service.in_thread
        finding: Finding | None = None
        try:
            finding = found = await within(lambda: checker.check(self.request, self.plan, text))
            if checker.explains(self.request, self.plan, found):
                return await self._service.queries.need(lambda: checker.explain(self.request, self.plan, text, found))
        except TimeoutError:
            said = f"not known within {self._service.queries.seconds:g} s"
            return Finding(None if finding is None else finding.passed, said)
        # A detail may quote the answer's JSON, whose escapes can spell half of a surrogate pair.
        return finding and replace(finding, detail=finding.detail.encode("utf-8", "replace").decode())

    async def _ask_again(self, first: Outcome) -> Outcome:
        """The second answer where it passes, else the first; it counts in usage either way."""
        service, finding = self._service, first.finding
        assert finding is not None
        prompt = service.checker.second(self.plan.completion.prompt, first.text, finding)
        try:
            ids = await service.in_thread(lambda: service.prompt_ids(prompt))
            sampling = service.sampling(self.request, len(ids), first.index)
            generation = service.engine.submit(ids, self._generations[first.index].adapter, sampling)
            self._generations.append(generation)
            second = await self._complete(first.index, generation, None)
        except (RequestError, QueueFullError, EngineClosedError, GenerationError):
            return first  # its verdict says what it is
        judged = await self._check(second.text)
        count = first.completion_tokens + second.completion_tokens
        if judged is not None and judged.passed is False:
            return replace(first, prompt_tokens=len(ids), completion_tokens=count)
        return replace(second, finding=judged, repaired=True, prompt_tokens=len(ids), completion_tokens=count)

    async def _complete(self, index: int, generation: Generation, put: Callable[[Piece], None] | None) -> Outcome:
        """Read one completion; its pieces are put as they come."""
        renderer = self._service.renderer
        text, hold = TextStream(renderer, self.request.stop), CallHold(bool(self.tools))
        whole, tokens, pending, count = "", list[Token](), list[tuple[int, Token]](), 0

        def release(piece: str, size: int) -> None:
            """Give a piece, and the tokens that begin within the answer's first so many characters."""
            ready = [token for start, token in pending if start < size]
            del pending[: len(ready)]
            tokens.extend(ready)
            if put is not None and (piece or ready):
                put(Piece(index, piece, tuple(ready)))

        async with aclosing(aiter(generation)) as coming:  # type: ignore[type-var]
            async for token in coming:
                count += 1
                if token.id not in renderer.eos_ids:
                    pending.append((text.size, token))
                piece = text.add(token.id)
                whole += piece
                if piece and (shown := hold.add(piece)):
                    release(shown, len(whole))
                if text.stopped is not None:
                    generation.cancel("stop")
                    break
        if text.stopped is None and generation.finish_reason not in ("stop", "length"):
            raise GenerationError("the completion was cancelled")
        piece = text.end()
        whole += piece
        content, calls = split(whole, self.tools)
        shown = hold.add(piece) + hold.end(content, bool(calls))
        # Tokens that spell the stop string are no part of the answer.
        release(shown, len(whole) if text.stopped is not None else text.size + 1)
        reason = "length" if text.stopped is None and generation.finish_reason == "length" else "stop"
        return Outcome(index, whole, tuple(tokens), reason, 0, count)  # type: ignore[arg-type]
