"""A piece found in a text: where it stands, and what it means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of a text.

    Args:
        start: Where it begins, wrappings such as code fences included.
        end: Where it ends.
        value: What stands there: schema text, or a JSON Schema.
    """

    start: int
    end: int
    value: Any


def cut(text: str, pieces: Iterable[Found]) -> str:
    """The text without the pieces; a blank line stands where one was cut out between other text."""
    kept, at = [], 0
    for piece in sorted(pieces, key=lambda piece: piece.start):
        kept.append(text[at : piece.start].strip())
        at = piece.end
    kept.append(text[at:].strip())
    return "\n\n".join(part for part in kept if part)
