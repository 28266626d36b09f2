"""An answer as a client gets it, and whether it is the one that its question has."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

import openai

from tools.soak.questions import Question

Likeness = Literal["same", "near tie", "other"]


class BrokenAnswer(Exception):
    """An answer that ends before its end, or has not the shape of one."""


@dataclass
class Said:
    """An answer.

    Args:
        id: The server's.
        head: Adapter and task that the HTTP header names, the body's `model`.
        content: Text.
        calls: Name and arguments of each tool call.
        tokens: Text and log-prob of each token.
        likeliest: The two likeliest tokens at each place, with their log-probs.
        finish: Finish reason.
        usage: Tokens of prompt and completion.
    """

    id: str
    head: tuple[str, str, str]
    content: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    tokens: list[tuple[str, float]] = field(default_factory=list)
    likeliest: list[dict[str, float]] = field(default_factory=list)
    finish: str | None = None
    usage: tuple[int, int] = (0, 0)

    def take(self, choice: Any, part: Any) -> None:
        """Add a choice's text, calls and tokens; `part` is its message or delta."""
        self.content += part.content or ""
        self.calls += [(call.function.name, call.function.arguments) for call in part.tool_calls or ()]
        self.finish = choice.finish_reason or self.finish
        for token in (choice.logprobs and choice.logprobs.content) or ():
            self.tokens.append((token.token, token.logprob))
            self.likeliest.append({each.token: each.logprob for each in token.top_logprobs})

    @property
    def text(self) -> str:
        """Content and calls."""
        return " ".join([self.content, *(f"{name} {arguments}" for name, arguments in self.calls)])

    def bears(self, marker: frozenset[str]) -> bool:
        """Whether the marker's words are all in it."""
        return marker <= set(re.findall(r"\w+", self.text))


async def answer(client: openai.AsyncOpenAI, question: Question, stream: bool) -> Said:
    """Ask by the official client.

    Raises:
        openai.APIError: What the client raises.
        BrokenAnswer: The answer is not whole.
    """
    create = client.chat.completions.with_raw_response.create
    if stream:
        got = await create(**question.body, stream=True, stream_options={"include_usage": True})
        said: Said | None = None
        async for chunk in got.parse():
            said = said or Said(chunk.id, _head(got, chunk))
            for choice in chunk.choices:
                said.take(choice, choice.delta)
            if chunk.usage is not None:
                said.usage = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
    else:
        got = await create(**question.body)
        whole = got.parse()
        said = Said(whole.id, _head(got, whole), usage=(whole.usage.prompt_tokens, whole.usage.completion_tokens))
        for choice in whole.choices:
            said.take(choice, choice.message)
    if said is None or said.finish is None or not said.usage[1]:
        raise BrokenAnswer("it ended without finish reason or usage")
    return said


def _head(got: Any, body: Any) -> tuple[str, str, str]:
    return got.headers["x-adapter"], got.headers["x-task"], body.model


def compare(one: Said, other: Said, sampled: bool, tolerance: float) -> tuple[Likeness, str]:
    """Whether two answers are of the same tokens with the same probabilities, and what sets them apart.

    Args:
        one: The answer given alone, with the likeliest tokens at each place.
        other: The answer held against it.
        sampled: Whether tokens were drawn: then rounding does not excuse another token.
        tolerance: Largest difference of a token's log-prob between two batches. Where two tokens are as close as
            that, rounding may choose either, and what follows is not compared.
    """
    # Rounding chooses neither adapter nor prompt.
    if one.head != other.head:
        return "other", f"head is {other.head!r}, not {one.head!r}"
    if one.usage[0] != other.usage[0]:
        return "other", f"the prompt has {other.usage[0]} tokens, not {one.usage[0]}"
    for place, ((wanted, logprob), (token, seen)) in enumerate(zip(one.tokens, other.tokens, strict=False)):
        if token != wanted:
            rival = one.likeliest[place].get(token)
            if not sampled and rival is not None and logprob - rival < tolerance:
                return "near tie", f"token {place}: {wanted!r} and {token!r} are {logprob - rival:.1e} apart"
            return "other", f"token {place} is {token!r}, not {wanted!r}"
        if abs(seen - logprob) > tolerance:
            return "other", f"token {place}, {token!r}, has log-prob {seen}, not {logprob}"
    for name in ("content", "calls", "finish", "usage"):
        if getattr(one, name) != getattr(other, name):
            return "other", f"{name} is {getattr(other, name)!r}, not {getattr(one, name)!r}"
    if len(one.tokens) != len(other.tokens):
        return "other", f"{len(other.tokens)} tokens, not {len(one.tokens)}"
    return "same", ""


def furthest(one: Said, other: Said) -> float:
    """Largest difference between log-probs of the tokens that two answers begin with alike."""
    both = zip(one.tokens, other.tokens, strict=False)
    alike = takewhile(lambda pair: pair[0][0] == pair[1][0], both)
    return max((abs(a - b) for (_, a), (_, b) in alike), default=0.0)


def tell_apart(one: Said, other: Said, tolerance: float) -> bool:
    """Whether the answers' own tokens and probabilities tell them apart, whatever stands around them."""
    if [token for token, _ in one.tokens] != [token for token, _ in other.tokens]:
        return True
    return furthest(one, other) > 2 * tolerance
