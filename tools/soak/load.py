"""The load: clients that ask without pause, stream or not, go away in the middle, or send what is no request."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from random import Random

import openai

from tools.soak.answers import BrokenAnswer, Said, answer, compare, furthest
from tools.soak.questions import Question
from tools.soak.raw import MALFORMED, send_malformed, vanish
from tools.soak.server import Target

WHOLE, STREAM, GONE, MALFORMED_BODY = "whole", "stream", "gone", "malformed"
KINDS = (WHOLE, STREAM, GONE, MALFORMED_BODY)
FAULTS = ("lost", "swapped", "twice", "error")
_SHARES = (45, 40, 9, 6)
_SHOWN = 8  # faults of each kind that are told in words


@dataclass
class Tally:
    """What came of the requests.

    Args:
        counts: Answers by kind, refusals, and `FAULTS`.
        adapters: Right answers by adapter.
        faults: The first of each kind in words.
        ids: Of the answers; no two may have the same.
        largest: Difference of a token's log-prob from the one that it had alone.
        seconds: Each answer's, refusals and the waits that they asked for included.
    """

    counts: Counter[str] = field(default_factory=Counter)
    adapters: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    largest: float = 0.0
    seconds: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Right answers and faults."""
        return sum(self.counts[kind] for kind in (WHOLE, STREAM, *FAULTS))

    def fault(self, kind: str, text: str) -> None:
        """Count a fault."""
        self.counts[kind] += 1
        if self.counts[kind] <= _SHOWN:
            self.faults.append(f"{kind}: {text}")

    def refusal(self, told_when: bool) -> None:
        """Count a 429; one that does not say when to come again is a fault."""
        self.counts["refused"] += 1
        if not told_when:
            self.fault("error", "429 without Retry-After")


@dataclass(frozen=True)
class Load:
    """A load.

    Args:
        target: The server.
        questions: Each with the answer that it was given alone.
        clients: At once.
        tolerance: See `compare`.
        timeout: Seconds after which an answer counts as lost; the waits after a 429 are not among them.
        seed: Draws what each client does.
    """

    target: Target
    questions: Sequence[tuple[Question, Said]]
    clients: int
    tolerance: float
    timeout: float
    seed: int

    async def run(self, seconds: float, answers: int, tally: Tally) -> None:
        """Keep all clients busy for a time, and until so many answers or faults are counted; each finishes its last."""
        end = time.monotonic() + seconds
        async with (
            openai.AsyncOpenAI(
                base_url=f"{self.target.url}/v1", api_key=self.target.key, max_retries=0, timeout=self.timeout
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for number in range(self.clients):
                group.create_task(self._client(client, number, end, answers, tally))

    async def _client(self, client: openai.AsyncOpenAI, number: int, end: float, answers: int, tally: Tally) -> None:
        random = Random(f"{self.seed}-{number}")
        kinds = chain([KINDS[number % len(KINDS)]], iter(lambda: random.choices(KINDS, _SHARES)[0], ""))
        while time.monotonic() < end or tally.answered < answers:
            question, alone = random.choice(self.questions)
            kind = next(kinds)
            began = time.monotonic()
            try:
                if kind == MALFORMED_BODY:
                    await self._send_malformed(random, tally)
                elif kind == GONE:
                    await self._go(question, random, tally)
                else:
                    await self._ask(client, question, alone, kind, tally)
                    tally.seconds.append(time.monotonic() - began)
            except (TimeoutError, openai.APITimeoutError):
                tally.fault("lost", f"{kind}: no answer within {self.timeout:g} s")
            except (openai.APIConnectionError, OSError, EOFError) as error:
                tally.fault("lost", f"{kind}: {type(error).__name__}: {error} ({error.__cause__!r})")
            except BrokenAnswer as error:
                tally.fault("lost", f"{kind}: {error}")
            except openai.APIError as error:
                tally.fault("error", f"{kind}: {type(error).__name__}: {error}")

    async def _ask(self, client: openai.AsyncOpenAI, question: Question, alone: Said, kind: str, tally: Tally) -> None:
        while True:
            try:
                async with asyncio.timeout(self.timeout):
                    said = await answer(client, question, kind == STREAM)
            except openai.RateLimitError as error:
                wait = error.response.headers.get("retry-after")
                tally.refusal(wait is not None)
                await asyncio.sleep(float(wait or 1))
                continue
            break
        if said.id in tally.ids:
            tally.fault("twice", f"the answer {said.id} came more than once")
        tally.ids.add(said.id)
        likeness, why = compare(alone, said, question.body["temperature"] > 0, self.tolerance)
        if likeness == "other":
            tally.fault("swapped", f"{kind}, {said.head[0]}: {why}; its answer alone: {alone.text[:200]!r}")
            return
        tally.largest = max(tally.largest, furthest(alone, said))
        tally.counts[kind] += 1
        tally.counts["near tie"] += likeness == "near tie"
        tally.counts["bears its marker"] += bool(question.marker) and said.bears(question.marker)
        tally.adapters[said.head[0]] += 1

    async def _go(self, question: Question, random: Random, tally: Tally) -> None:
        pieces = random.choice((0, 0, 2, 6, 12))
        async with asyncio.timeout(self.timeout):
            status = await vanish(self.target, question.body, pieces, random.uniform(0.0, 0.5))
        if status in (0, 200):
            tally.counts[GONE] += 1
        elif status != 429:
            tally.fault("error", f"status {status} for a client that goes")

    async def _send_malformed(self, random: Random, tally: Tally) -> None:
        body, wanted = random.choice(MALFORMED)
        async with asyncio.timeout(self.timeout):
            status, told_when = await send_malformed(self.target, body)
        if status == 429:
            tally.refusal(told_when)
        elif status != wanted:
            tally.fault("error", f"status {status}, not {wanted}, for the body {body[:60]!r}")
        else:
            tally.counts[MALFORMED_BODY] += 1
