"""Numbers written in words, English and Chinese."""

from __future__ import annotations

from collections.abc import Sequence

CHINESE_DIGITS = {
    "零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "兩": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9,
}  # fmt: skip
CHINESE_UNITS = {"十": 10, "百": 100, "千": 1000}
CHINESE_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
CHINESE_NUMERALS = "".join([*CHINESE_DIGITS, *CHINESE_UNITS, *CHINESE_MYRIADS])

_ONES = dict(zip(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], range(1, 10), strict=True))
_TEENS = {
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
ENGLISH_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
ENGLISH_WORDS = frozenset({"zero", *_ONES, *_TEENS, *_TENS, "hundred", *ENGLISH_SCALES})


def chinese_number(numeral: str) -> int:
    """The value of a run of Chinese numerals: digits in places (二〇二六) or with units (两千零二十六).

    A digit that ends it after a unit counts tenths of that unit, as spoken: 一百二 is 120.
    """
    if not set(numeral) & (CHINESE_UNITS.keys() | CHINESE_MYRIADS.keys()):
        return int("".join(str(CHINESE_DIGITS[char]) for char in numeral))
    total = section = digit = 0
    for char in numeral:
        if char in CHINESE_DIGITS:
            digit = CHINESE_DIGITS[char]
        elif char in CHINESE_UNITS:
            section += (digit or 1) * CHINESE_UNITS[char]
            digit = 0
        else:
            myriad = CHINESE_MYRIADS[char]
            section += digit
            total = total + section * myriad if total > myriad else (total + section) * myriad
            section = digit = 0
    unit = (CHINESE_UNITS | CHINESE_MYRIADS).get(numeral[-2:-1], 0)
    return total + section + digit * (unit // 10 if unit > 10 else 1)


def english_number(words: Sequence[str], start: int = 0) -> tuple[int, int] | None:
    """The number that case-folded words spell from `start` on, as far as it goes.

    `a hundred` is 100; `two three` is 2, then 3; `and` joins what follows a hundred or a scale.

    Returns:
        Its value and the index after its last word; None where no number starts there.
    """
    first = start + (words[start] == "a")
    if _at(words, first) in ("hundred", *ENGLISH_SCALES):
        section, place = 1, first
    elif first > start or (read := _below_hundred(words, start)) is None:
        return None
    else:
        section, place = read
    total, bound = 0, 10**15
    while True:
        if _at(words, place) == "hundred" and section < 100:
            section, place = section * 100, place + 1
            if more := _joined(words, place):
                section, place = section + more[0], more[1]
        scale = ENGLISH_SCALES.get(_at(words, place))
        if scale is None or scale >= bound:
            return total + section, place
        total, place, bound = total + section * scale, place + 1, scale
        section = 0
        if more := _joined(words, place):
            section, place = more


def _joined(words: Sequence[str], place: int) -> tuple[int, int] | None:
    """A number below a hundred at `place`, or after an `and` there."""
    return _below_hundred(words, place + (_at(words, place) == "and"))


def _below_hundred(words: Sequence[str], place: int) -> tuple[int, int] | None:
    word, following = _at(words, place), _at(words, place + 1)
    if word in _TENS:
        return (_TENS[word] + _ONES[following], place + 2) if following in _ONES else (_TENS[word], place + 1)
    small = 0 if word == "zero" else _ONES.get(word) or _TEENS.get(word)
    return None if small is None else (small, place + 1)


def _at(words: Sequence[str], place: int) -> str:
    return words[place] if place < len(words) else ""
