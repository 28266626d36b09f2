"""The completions that the model works at: who comes in, what goes into the next step, who leaves."""

from __future__ import annotations

from qwen_lightning.serving.engine.adapters import AdapterSlots
from qwen_lightning.serving.engine.runner import ModelRunner, Part, Running
from qwen_lightning.serving.engine.sampling import sample
from qwen_lightning.serving.engine.weights import BARE
from qwen_lightning.serving.generation import Generation, Token
from qwen_lightning.serving.limits import EngineCounts, Limits


class Batch:
    """Completions with a place, room for keys and values, and their adapter's slot. For one thread.

    Args:
        runner: The model.
        adapters: What lies on it.
        limits: What it takes on.
        counts: Where steps and tokens are counted.
    """

    def __init__(self, runner: ModelRunner, adapters: AdapterSlots, limits: Limits, counts: EngineCounts) -> None:
        self.runner, self.adapters, self.limits, self.counts = runner, adapters, limits, counts
        self.running: list[Running] = []  # in the order of their admission

    def admit(self, generation: Generation) -> bool:
        """Take a completion in, with room for the longest that it may become; False while there is none.

        Raises:
            AdapterError: Its adapter can no longer be loaded.
        """
        if len(self.running) >= self.limits.running:
            return False
        slot: int | None = BARE
        room = self.runner.kv.take(len(generation.prompt) + generation.sampling.max_tokens)
        if room is None:
            return False
        try:
            if generation.adapter is not None:
                slot = self.adapters.acquire(generation.adapter)
        except BaseException:
            self.runner.kv.give(room)
            raise
        if slot is None:
            self.runner.kv.give(room)
            return False
        self.running.append(Running(generation, slot, room))
        return True

    def remove(self, running: Running, wipe: bool = False) -> None:
        """Let a completion go, and free what it held.

        Args:
            running: The completion.
            wipe: Whether its keys and values may hold NaN.
        """
        self.running.remove(running)
        self.runner.kv.give(running.room, wipe)
        if running.generation.adapter is not None:
            self.adapters.release(running.generation.adapter)

    def plan(self) -> list[Part]:
        """The next step: a token of every completion, and of prompts as many as a step may have.

        Half of these are the oldest prompts', so that each comes to its end; the other half those with the fewest
        tokens left, so that a short prompt does not wait for the long ones before it.
        """
        counts = [1 if running.left == 1 else 0 for running in self.running]
        oldest = [place for place, running in enumerate(self.running) if running.left > 1]
        budget = self.limits.prefill_tokens
        shared = budget // 2
        shortest = sorted(oldest, key=lambda place: self.running[place].left)
        for order, tokens in ((oldest, budget - shared), (shortest, shared)):
            for place in order:
                count = min(self.running[place].left - counts[place], tokens)
                counts[place] += count
                tokens -= count
        return [Part(running, count) for running, count in zip(self.running, counts, strict=True) if count]

    def step(self, parts: list[Part]) -> list[tuple[Running, Token]]:
        """Compute the parts; the next tokens of those that are through with their prompts."""
        self.counts.steps += 1
        of_prompts = sum(part.count for part in parts if part.end <= len(part.running.generation.prompt))
        complete, logits = self.runner.step(parts)
        self.counts.prompt_tokens += of_prompts
        if not complete:
            return []
        settings = [running.generation.sampling for running in complete]
        uniforms = [running.random.random() for running in complete]
        tokens = sample(logits, settings, uniforms)
        self.counts.completion_tokens += len(tokens)
        for running, token in zip(complete, tokens, strict=True):
            running.ids.append(token.id)
        return list(zip(complete, tokens, strict=True))
