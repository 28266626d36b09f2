"""Slot values: when two are the same, and whether a text gives one.

A value is compared as a row of tokens: words with case and width (NFKC) folded, single characters of scripts written
without spaces, and numbers by value, whether in digits, in English words or in Chinese numerals (`Two`, `２`, `两` are
`2`; `1,200`, `1.2 thousand` and `一千二` are `1200`; `4.50` is `4.5`; `07` stays `07`). White space and punctuation
do not count, but signs, currencies and `+ # % & @` do: `C++` is not `C`, `-5` is not `5`, `50%` is not `50`.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Hashable, Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import regex

from qwen_lightning.tasks.number_words import (
    CHINESE_DIGITS,
    CHINESE_MYRIADS,
    CHINESE_NUMERALS,
    CHINESE_UNITS,
    ENGLISH_SCALES,
    ENGLISH_WORDS,
    chinese_number,
    english_number,
)

_SCALE_CHARS = {char: value for char, value in (CHINESE_UNITS | CHINESE_MYRIADS).items() if char != "十"}
_SCALE_WORDS = {"hundred": 100} | ENGLISH_SCALES
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WHOLE = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)"
# A minus touches its number and stands free on its left, else it is a dash; a second point makes a date, not a decimal.
_TOKEN = regex.compile(
    rf"""
    (?P<number>
        (?:(?<=^|[\s(\[:=])-)? (?:(?<!\d\.){_WHOLE}\.\d+(?!\.?\d) | {_WHOLE} | (?<![\w.])\.\d+)
    ) (?:\s?(?P<scale>[{"".join(_SCALE_CHARS)}]{{1,4}}))?
    | (?P<numeral>[{CHINESE_NUMERALS}]{{1,40}})
    | (?P<single>[{_UNSPACED}ー]\p{{M}}*)
    | (?P<word>[[\p{{L}}\p{{M}}]--[{_UNSPACED}]]+)
    | (?P<symbol>[\p{{Sc}}\p{{So}}+\#%&@<>=])
    """,
    regex.VERBOSE | regex.VERSION1,
)
_LONGEST = 18  # digits of a number that a scale may multiply
_BREAK = "\x1f"  # stands in no token


class _Token(NamedTuple):
    kind: str
    text: str
    scale: str
    start: int
    end: int


class Passage:
    """A text to look values up in.

    Args:
        text: As the user wrote it.
    """

    def __init__(self, text: str) -> None:
        self._as_written = _joined(as_written(text))
        self._tokens = _joined(tokens(text))

    def gives(self, value: Any) -> bool:
        """Whether a scalar's tokens stand in the text in one piece, as written or with numbers read as numbers."""
        wanted = tokens(_as_text(value))
        return bool(wanted) and (
            _joined(wanted) in self._tokens or _joined(as_written(_as_text(value))) in self._as_written
        )


@lru_cache(maxsize=8192)  # completions of a group share their record
def passage(text: str) -> Passage:
    """The passage of a text, kept by its content."""
    return Passage(text)


def canonical(value: Any) -> Hashable:
    """A hashable stand-in for a JSON value: equal for values that say the same.

    Lists are bags: their order does not count. A text without a token stands for itself, folded.
    """
    if isinstance(value, dict):
        return "object", tuple((name, canonical(value[name])) for name in sorted(value))
    if isinstance(value, list):
        return "list", tuple(sorted(map(canonical, value), key=repr))
    text = _as_text(value)
    return tokens(text) or (_folded(text),)


def scalars(value: Any) -> Iterator[Any]:
    """The scalars in a JSON value, at any depth."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from scalars(item)
    else:
        yield value


@lru_cache(maxsize=8192)
def tokens(text: str) -> tuple[str, ...]:
    """The tokens of a text, numbers by value."""
    found = _scan(text)
    made: list[str] = []
    place = 0
    while place < len(found):
        token = found[place]
        if token.kind == "number":
            value, place = _number(found, place)
            made.append(value)
            continue
        if token.kind == "word" and (token.text in ENGLISH_WORDS or token.text == "a"):
            words = _run(found, place)
            if (read := english_number(words)) is not None:
                made.append(str(read[0]))
                place += read[1]
                continue
        made.extend(_numeral(token.text) if token.kind == "numeral" else [token.text])
        place += 1
    return tuple(made)


@lru_cache(maxsize=8192)
def as_written(text: str) -> tuple[str, ...]:
    """The tokens of a text, number words left as they are."""
    made: list[str] = []
    for token in _scan(text):
        made += token.text if token.kind == "numeral" else [token.text, *token.scale]
    return tuple(made)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text.replace("−", "-")).casefold().split())


@lru_cache(maxsize=256)  # read twice, with and without numbers by value
def _scan(text: str) -> tuple[_Token, ...]:
    return tuple(map(_token, _TOKEN.finditer(_folded(text))))


def _token(found: regex.Match[str]) -> _Token:
    if found["number"] is None:
        return _Token(found.lastgroup or "", found[0], "", *found.span())
    return _Token("number", _plain(found["number"]), found["scale"] or "", *found.span())


def _plain(number: str) -> str:
    """ASCII digits without separators; of a decimal, no zeros that say nothing."""
    digits = "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in number.replace(",", ""))
    sign, digits = ("-", digits[1:]) if digits[0] == "-" else ("", digits)
    whole, point, rest = digits.partition(".")
    if point:
        rest = rest.rstrip("0")
        digits = (whole.lstrip("0") or "0") + ("." + rest if rest else "")
    return sign + digits if digits.strip("0.") else digits


def _number(found: tuple[_Token, ...], place: int) -> tuple[str, int]:
    """The value of a number in digits with the scale after it, and the place of the next token."""
    token = found[place]
    scale = math.prod(_SCALE_CHARS[char] for char in token.scale)
    place += 1
    while (
        place < len(found)
        and found[place].text in _SCALE_WORDS
        and found[place].start - found[place - 1].end == 1
        and scale < 10**15
    ):
        scale *= _SCALE_WORDS[found[place].text]
        place += 1
    if scale == 1 or len(token.text) > _LONGEST:
        return token.text, place
    return _plain(format(Decimal(token.text) * scale, "f")), place


def _numeral(run: str) -> list[str]:
    """Chinese numerals as one number; a run that a unit begins, as in 百货, as characters."""
    if run[0] not in CHINESE_DIGITS and run[0] != "十":
        return list(run)
    if all(char in CHINESE_DIGITS for char in run):
        return ["".join(str(CHINESE_DIGITS[char]) for char in run)]
    return [str(chinese_number(run))]


def _run(found: tuple[_Token, ...], place: int) -> list[str]:
    """The words from `place` on with nothing but a space or a hyphen between them, as far as a number may go."""
    words = [found[place].text]
    for before, token in itertools.pairwise(found[place : place + 24]):
        if token.kind != "word" or token.start - before.end > 1:
            break
        words.append(token.text)
    return words


def _joined(parts: tuple[str, ...]) -> str:
    return _BREAK + _BREAK.join(parts) + _BREAK
