"""Answers in the shape of OpenAI's chat completions: whole, and as the chunks of a stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.serving.generation import Token
from qwen_lightning.serving.outcomes import Outcome
from qwen_lightning.serving.routing.found import is_text
from qwen_lightning.serving.routing.router import Decision
from qwen_lightning.serving.text import token_bytes
from qwen_lightning.tasks.tool_calls import CLOSE, OPEN, Call, read_answer

Shape = dict[str, Any]


class Answer:
    """One answer's common fields, and its choices in OpenAI's shape.

    `model` names the adapter that answered; `routing` says why, and `system_fingerprint` which weights it has.

    Args:
        decision: Adapter, task and reason.
        fingerprint: Of the weights; None for the bare backbone.
        renderer: Decodes single tokens, for log-probs.
        logprobs: Whether they were asked for.
        tools: Names of the tools that may be called.
        parallel: Whether the answer may hold more than one call.
    """

    def __init__(
        self,
        decision: Decision,
        fingerprint: str | None,
        renderer: ChatRenderer,
        logprobs: bool = False,
        tools: Sequence[str] = (),
        parallel: bool = True,
    ) -> None:
        self.decision, self._renderer = decision, renderer
        self._logprobs, self._tools, self._parallel = logprobs, tools, parallel
        self._id, self._created, self._fingerprint = f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), fingerprint

    def whole(self, outcomes: Iterable[Outcome], usage: Shape) -> Shape:
        """The answer of a request that is not streamed."""
        choices = [self._choice(each) for each in outcomes]
        return {**self._head("chat.completion"), **self._routing(), "choices": choices, "usage": usage}

    def begun(self, index: int) -> Shape:
        """A choice's first chunk, which alone tells the routing."""
        chunk = self._chunk({"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})
        return {**chunk, **self._routing()}

    def piece(self, index: int, text: str, tokens: Sequence[Token]) -> Shape:
        """More of a choice's text."""
        choice: Shape = {"index": index, "delta": {"content": text} if text else {}, "finish_reason": None}
        if self._logprobs:
            choice["logprobs"] = self._said(tokens)
        return self._chunk(choice)

    def ended(self, outcome: Outcome) -> list[Shape]:
        """A choice's last chunks: its calls, then its finish reason."""
        _, calls = split(outcome.text, self._tools, self._parallel)
        chunks = [
            self._chunk(
                {"index": outcome.index, "delta": {"tool_calls": [{"index": at, **shape}]}, "finish_reason": None}
            )
            for at, shape in enumerate(map(_call, calls))
        ]
        last = {"index": outcome.index, "delta": {}, "finish_reason": "tool_calls" if calls else outcome.finish_reason}
        return [*chunks, self._chunk({**last, **_verdict(outcome)})]

    def usage(self, usage: Shape) -> Shape:
        """A stream's last chunk, where usage was asked for."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage}

    def _head(self, kind: str) -> Shape:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self.decision.adapter,
            "system_fingerprint": self._fingerprint,
        }

    def _routing(self) -> Shape:
        return {"routing": asdict(self.decision)}

    def _chunk(self, choice: Shape) -> Shape:
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _choice(self, outcome: Outcome) -> Shape:
        content, calls = split(outcome.text, self._tools, self._parallel)
        message: Shape = {"role": "assistant", "content": content, "refusal": None}
        if calls:
            message["tool_calls"] = [_call(call) for call in calls]
        return {
            "index": outcome.index,
            "message": message,
            "logprobs": self._said(outcome.tokens) if self._logprobs else None,
            "finish_reason": "tool_calls" if calls else outcome.finish_reason,
            **_verdict(outcome),
        }

    def _said(self, tokens: Sequence[Token]) -> Shape:
        content = [
            {
                **self._token(token.id, token.logprob),
                "top_logprobs": [self._token(*likely) for likely in token.top_logprobs],
            }
            for token in tokens
        ]
        return {"content": content, "refusal": None}

    def _token(self, token: int, logprob: float) -> Shape:
        text = self._renderer.tokenizer.decode([token], skip_special_tokens=False)
        found = token_bytes(self._renderer, token)  # a part of a character is no text, and is told by its bytes
        return {"token": text, "bytes": None if found is None else list(found), "logprob": logprob}


class CallHold:
    """Keeps a stream's calls from going out as text: what may belong to a call is held until the answer's end.

    Args:
        active: Whether there are tools.
    """

    def __init__(self, active: bool) -> None:
        self._active, self._held, self._sent = active, "", ""

    def add(self, piece: str) -> str:
        """What may go out of the text so far."""
        if not self._active:
            return piece
        self._held += piece
        start = self._held.find(OPEN)
        if start < 0:
            most = min(len(self._held), len(OPEN) - 1)
            start = len(self._held) - next((n for n in range(most, 0, -1) if OPEN.startswith(self._held[-n:])), 0)
        text = self._held[:start].rstrip()  # white space between text and a call is neither's
        self._held = self._held[len(text) :]
        self._sent += text
        return text

    def end(self, content: str | None, called: bool) -> str:
        """What is left, once it is known what the whole answer says and whether it makes calls."""
        return (content or "")[len(self._sent.lstrip()) :] if called else self._held


def split(text: str, tools: Sequence[str], parallel: bool = True) -> tuple[str | None, list[Call]]:
    """An answer's content and its calls; a text whose calls cannot all be made is content as it stands."""
    if not tools or OPEN not in text:
        return text, []
    answer = read_answer(text)
    if answer.fault or not answer.calls or any(call.name not in tools for call in answer.calls):
        return text, []
    before = text[: text.index(OPEN)].strip()
    after = text[text.rindex(CLOSE) + len(CLOSE) :].strip() if answer.extra else ""
    content = "\n".join(part for part in (before, after) if part)
    return content or None, answer.calls if parallel else answer.calls[:1]


def _call(call: Call) -> Shape:
    arguments = json.dumps(call.arguments, ensure_ascii=not is_text(call.arguments))  # halves of pairs as escapes
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _verdict(outcome: Outcome) -> Shape:
    finding = outcome.finding
    if finding is None:
        return {}
    return {"verdict": {"passed": finding.passed, "detail": finding.detail, "repaired": outcome.repaired}}
