"""Tokens a second with one adapter at a time and with all of them mixed, over the same prompts and lengths."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import openai

from qwen_lightning.records import RecordBase
from qwen_lightning.tasks.registry import TaskRegistry
from tools.soak.server import Target

_MOST_TOKENS = 32


@dataclass(frozen=True)
class Shape:
    """A request that takes the same work with every adapter.

    Args:
        messages: As training has them, with the task's tag, so that every adapter gets the same prompt.
        prompt_tokens: Of the prompt.
        new_tokens: As many as every adapter says at least.
    """

    messages: list[dict[str, Any]]
    prompt_tokens: int
    new_tokens: int


@dataclass
class Side:
    """One way's share of the measurement.

    Args:
        tokens: New tokens.
        seconds: That it took.
        cpu: Processor time that the server's process took; 0 where the process is not known.
    """

    tokens: int = 0
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def speed(self) -> float:
        """New tokens a second."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Throughput:
    """What was measured.

    Args:
        one: With one adapter at a time, each in its turn.
        mixed: With every adapter in every batch.
    """

    one: Side
    mixed: Side

    @property
    def ratio(self) -> float:
        """Mixed over one, in tokens a second."""
        return self.mixed.speed / self.one.speed


class Bench:
    """Measures a server.

    Args:
        target: The server.
        adapters: Names.
        clients: At once; so many must not be refused.
    """

    def __init__(self, target: Target, adapters: Sequence[str], clients: int) -> None:
        self._target, self._adapters, self._clients = target, adapters, clients

    async def run(self, tasks: TaskRegistry, records: Sequence[RecordBase], prompts: int, seconds: float) -> Throughput:
        """Measure in turns, an adapter and all of them, so that whatever else the machine does falls on both.

        Args:
            tasks: They make the prompts.
            records: What is asked; those with tools, or without a task's tag, are left out.
            prompts: How many of them; those that some adapter gets in other words are left out.
            seconds: Of each turn; there are two for every adapter.
        """
        async with openai.AsyncOpenAI(
            base_url=f"{self._target.url}/v1", api_key=self._target.key, max_retries=0, timeout=120
        ) as client:
            shapes = await self._shapes(client, tasks, records, prompts)
            measured = Throughput(Side(), Side())
            for adapter in self._adapters:
                for side, names in ((measured.one, [adapter]), (measured.mixed, self._adapters)):
                    began, cpu = time.monotonic(), self._cpu()
                    side.tokens += await self._turn(client, shapes, names, began + seconds)
                    side.seconds += time.monotonic() - began
                    side.cpu += self._cpu() - cpu
        return measured

    def _cpu(self) -> float:
        return 0.0 if self._target.process is None else self._target.cpu_seconds()

    async def _shapes(
        self, client: openai.AsyncOpenAI, tasks: TaskRegistry, records: Sequence[RecordBase], most: int
    ) -> list[Shape]:
        found: list[Shape] = []
        for record in records:
            prompt = tasks[record.task].prompt(record)
            if len(found) == most:
                break
            if prompt.tools or tasks[record.task].tag(record) is None:
                continue
            usages = await asyncio.gather(
                *(self._ask(client, name, prompt.messages, _MOST_TOKENS) for name in self._adapters)
            )
            if len({usage.prompt_tokens for usage in usages}) == 1:
                least = min(usage.completion_tokens for usage in usages)
                found.append(Shape(prompt.messages, usages[0].prompt_tokens, least))
        if not found:
            raise SystemExit("no record gives every adapter the same prompt; --records needs text2sql, say")
        return found

    async def _turn(self, client: openai.AsyncOpenAI, shapes: Sequence[Shape], names: Sequence[str], end: float) -> int:
        """New tokens of a turn; returns when its last request is answered."""
        numbers, said = count(), 0

        async def ask_on() -> None:
            nonlocal said
            while time.monotonic() < end:
                number = next(numbers)
                # The adapters take turns over each prompt too, where their number divides that of the prompts.
                name = names[(number + number // len(shapes)) % len(names)]
                shape = shapes[number % len(shapes)]
                usage = await self._ask(client, name, shape.messages, shape.new_tokens)
                assert (usage.prompt_tokens, usage.completion_tokens) == (shape.prompt_tokens, shape.new_tokens)
                said += usage.completion_tokens

        await asyncio.gather(*(ask_on() for _ in range(self._clients)))
        return said

    async def _ask(self, client: openai.AsyncOpenAI, name: str, messages: Any, tokens: int) -> Any:
        got = await client.chat.completions.create(model=name, messages=messages, max_tokens=tokens, temperature=0.0)
        return got.usage
