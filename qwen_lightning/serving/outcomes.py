"""What comes of a request: pieces of text as they are certain, and each choice's end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qwen_lightning.serving.generation import Token


@dataclass(frozen=True, slots=True)
class Finding:
    """What checks say of an answer.

    Args:
        passed: Whether all that could be checked holds; None where nothing could.
        detail: Why not, in one line.
    """

    passed: bool | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """More text of a choice, and the tokens that it comes of."""

    index: int
    text: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A choice that is done.

    Args:
        index: Which.
        text: All of its text.
        tokens: Its tokens, without the one that ends the turn.
        finish_reason: `stop` or `length`.
        prompt_tokens: Tokens that were read for it beyond the request's own prompt.
        completion_tokens: Tokens that were generated, a refused answer's included.
        finding: What checks say; None where there is nothing to check.
        repaired: Whether this is the second answer, asked for because the first failed its checks.
    """

    index: int
    text: str
    tokens: tuple[Token, ...]
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    finding: Finding | None = None
    repaired: bool = False
