"""Text of a completion as its tokens come: whole characters, and nothing from a stop string on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from qwen_lightning.models.chat import ChatRenderer

_INCOMPLETE = "\ufffd"  # in place of bytes that are no character yet
_BYTE = re.compile("<0x([0-9A-F]{2})>")  # how SentencePiece names a byte


class TextStream:
    """Turns token ids to text piece by piece; the pieces together are `renderer.decode` of all ids.

    Args:
        renderer: Knows the tokenizer and what ends a turn.
        stop: Strings before the first of which the text ends.
    """

    def __init__(self, renderer: ChatRenderer, stop: Sequence[str] = ()) -> None:
        self.stopped: str | None = None  # the stop string that ended the text
        self.size = 0  # characters of the tokens so far, held ones included
        self._renderer, self._stop = renderer, [string for string in stop if string]
        self._ids: list[int] = []
        self._context = self._read = 0  # ids from the one to the other are in the text already
        self._ended = False
        self._held = ""

    def add(self, token: int) -> str:
        """The text that is certain after one more token; "" where it may yet become another, or has ended."""
        if self._ended or token in self._renderer.eos_ids:
            self._ended = True
            return ""
        self._ids.append(token)
        # Some tokenizers decode a token by what stands before it.
        before, text = self._decode(self._context, self._read), self._decode(self._context, len(self._ids))
        if text.endswith(_INCOMPLETE):
            return ""
        self._context, self._read = self._read, len(self._ids)
        return self._release(text[len(before) :])

    def end(self) -> str:
        """What was held back until now; call it when no token follows."""
        if self.stopped is not None:
            return ""
        before, text = self._decode(self._context, self._read), self._decode(self._context, len(self._ids))
        self._read = self._context = len(self._ids)
        piece = self._release(text[len(before) :]) + self._held
        self._held, self._ended = "", True
        return piece

    def _release(self, text: str) -> str:
        """What may go out of the held text and its continuation."""
        self.size += len(text)
        text = self._held + text
        found = [(place, string) for string in self._stop if (place := text.find(string)) >= 0]
        if found:
            place, self.stopped = min(found)
            self._held, self._ended = "", True
            return text[:place]
        kept = max((_overlap(text, string) for string in self._stop), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def _decode(self, start: int, end: int) -> str:
        return self._renderer.tokenizer.decode(self._ids[start:end], skip_special_tokens=False)


def _overlap(text: str, string: str) -> int:
    """Characters at the end of a text that a string begins with."""
    return next((size for size in range(min(len(text), len(string) - 1), 0, -1) if text.endswith(string[:size])), 0)


def token_bytes(renderer: ChatRenderer, token: int) -> bytes | None:
    """The bytes that a token adds to a text, be they a part of a character; None where the tokenizer tells none."""
    text = renderer.tokenizer.decode([token], skip_special_tokens=False)
    if _INCOMPLETE not in text:
        return text.encode()
    name = renderer.tokenizer.convert_ids_to_tokens(token)
    if match := _BYTE.fullmatch(name):
        return bytes([int(match[1], 16)])
    letters = _byte_letters()
    found = bytes(letters[letter] for letter in name) if all(letter in letters for letter in name) else b""
    return found if found.decode("utf-8", "replace") == text else None


@cache
def _byte_letters() -> dict[str, int]:
    """Letters to the bytes that they stand for in byte-level BPE.

    Printable Latin-1 stands for itself, and the letters from U+0100 on for the other bytes (Radford and others,
    Language Models are Unsupervised Multitask Learners, 2019).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
