"""A piece found in a text: where it stands, and what it means."""

from __future__ import annotations

import json
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
        inline: It may stand within a sentence; `MARK` takes its place.
    """

    start: int
    end: int
    value: Any
    inline: bool = False


#: Stands for a piece that was cut out of a sentence; no user writes this private character.
MARK = "\ue000"


def is_text(value: Any) -> bool:
    """Whether a decoded JSON value can be written in UTF-8: JSON's escapes can spell half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def cut(text: str, pieces: Iterable[Found]) -> str:
    """The text without the pieces; a blank line stands where one was cut out, and `MARK` where it was an inline one."""
    kept, at = "", 0
    for piece in sorted(pieces, key=lambda piece: piece.start):
        kept += text[at : piece.start]
        at = piece.end
        if piece.inline:
            kept += MARK
        else:
            kept = kept.rstrip() + "\n\n"
            at += len(text[at:]) - len(text[at:].lstrip())
    return (kept + text[at:]).strip()
