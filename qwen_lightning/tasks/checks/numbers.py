"""Numbers as people write them: separators, units, fractions, Chinese numerals."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_SCALES = {
    "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "千": 10**3, "万": 10**4, "萬": 10**4, "百万": 10**6, "千万": 10**7, "亿": 10**8, "億": 10**8,
    "тыс": 10**3, "млн": 10**6, "mil": 10**3, "millones": 10**6, "millón": 10**6,
}  # fmt: skip
_NUMBER = re.compile(
    r"(?<![A-Za-z_^\d])(?P<body>\d{1,3}(?: \d{3})+(?![\d.,]*\d)|\d[\d.,]*\d|\.?\d+)"
    r"(?:[eE](?P<exponent>[+-]?\d{1,2})(?![\dA-Za-z]))?(?:\s*/\s*(?P<under>\d{1,30})(?!\d))?(?P<percent>\s?%)?"
    rf"(?:\s*(?P<scale>{'|'.join(sorted(_SCALES, key=len, reverse=True))})(?![A-Za-z]))?",
    re.IGNORECASE,
)
# A minus touches its number; with a space it is a dash or an item of a list, unless it follows an equals sign.
_MINUS = re.compile(r"(?:^|[^\w)\]%]|[\u3040-\u9fff])-[$€£¥₹]?$|[$€£¥₹]-$|[=(]\s?-\s$")
_LONGEST = 60  # digits; longer runs are noise
_DIGITS = {
    "零": 0,
    "〇": 0,
    "一": 1,
    "二": 2,
    "两": 2,
    "兩": 2,
    "三": 3,
    "四": 4,
    "五": 5,
    "六": 6,
    "七": 7,
    "八": 8,
    "九": 9,
}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_CHINESE = re.compile(f"[{''.join([*_DIGITS, *_UNITS, *_MYRIADS])}]+")
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: value for value, word in enumerate(_ONES.split())}
_WORDS |= {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
_WORD_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6}
_ENGLISH = re.compile(rf"\b(?:(?:{'|'.join([*_WORDS, *_WORD_SCALES])})\b(?:[ -](?:and )?)?)+", re.IGNORECASE)


def numbers(text: str) -> list[set[Fraction]]:
    """Every number of a text, in order, each as the set of values that it can be read as.

    `1,234` is 1234; `1.234` is 1.234 or, as in Spanish and German, 1234; `3,5` is 3.5; `50%` is 50 or 0.5;
    `1.5万` is 15000 or, where the unit was asked for, 1.5. Chinese numerals and English number words count where
    the text has no digits.
    """
    text = _plain(text)
    found = [readings for match in _NUMBER.finditer(text) if (readings := _read(text, match))]
    if found:
        return found
    spelled = [{Fraction(_chinese(match[0]))} for match in _CHINESE.finditer(text)]
    return spelled or [{Fraction(_english(match[0]))} for match in _ENGLISH.finditer(text)]


def as_number(text: str) -> Fraction | None:
    """The value of a text that is a number and nothing else but signs, units of money or a percent sign."""
    plain = (
        _plain(text).strip().removeprefix("US").strip("$€£¥₹ ").rstrip(".。").replace(",", "").removesuffix("%").strip()
    )
    if re.fullmatch(r"[+-]?\s?[$€£¥₹]?(\d{1,60}(\.\d{1,60})?|\.\d{1,60})", plain):
        return Fraction(re.sub(r"[\s$€£¥₹]", "", plain))
    if fraction := re.fullmatch(r"([+-]?\d{1,30})\s*/\s*(\d{1,30})", plain):
        return Fraction(int(fraction[1]), int(fraction[2])) if int(fraction[2]) else None
    return None


def _plain(text: str) -> str:
    """ASCII digits and signs, no LaTeX spacing; superscripts are exponents or units and go."""
    text = re.sub(r"[⁰¹²³⁴-⁹]+", "", text)
    text = re.sub(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}", r"\1/\2", text)
    text = re.sub(r"\{,\}", ",", re.sub(r"\\[,!;: ]", "", text))
    text = re.sub(r"(?<=\d)[\u00a0\u202f\u2009'’](?=\d{3}(?!\d))", "", text)
    text = unicodedata.normalize("NFKC", text).translate(str.maketrans("−–⁄٫٬", "--/.,"))
    return "".join(str(unicodedata.digit(char)) if char.isdecimal() and not char.isascii() else char for char in text)


def _read(text: str, match: re.Match[str]) -> set[Fraction]:
    body = match["body"]
    if len(body) > _LONGEST:
        return set()
    values = _separated(body)
    if match["exponent"]:
        values = {value * Fraction(10) ** int(match["exponent"]) for value in values}
    if match["under"] and int(match["under"]):
        values = {value / int(match["under"]) for value in values}
        if (
            whole := re.search(r"(?<![\d.,])(\d{1,9}) $", text[max(0, match.start() - 12) : match.start()])
        ) is not None:
            values |= {int(whole[1]) + value for value in values}
    if match["percent"]:
        values |= {value / 100 for value in values}
    if match["scale"]:
        values |= {value * _SCALES[match["scale"].lower()] for value in values}
    before = text[max(0, match.start() - 6) : match.start()]
    return {-value for value in values} if _MINUS.search(before) else values


def _separated(body: str) -> set[Fraction]:
    """The readings of digits with points, commas and spaces between them."""
    if " " in body:
        return {Fraction(body.replace(" ", "")), Fraction(body.rsplit(" ", 1)[1])}
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?|\d{1,2}(,\d{2})+,\d{3}(\.\d+)?", body):
        return {Fraction(body.replace(",", ""))}
    if re.fullmatch(r"\d{1,3}(\.\d{3})+,\d+|\d{1,3}(\.\d{3}){2,}", body):
        return {Fraction(body.replace(".", "").replace(",", "."))}
    if re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", body):
        return {Fraction(body), Fraction(body.replace(".", ""))}
    if re.fullmatch(r"\d*\.?\d+", body):
        return {Fraction(body)}
    if re.fullmatch(r"\d+,\d+", body):
        return {Fraction(body.replace(",", ".")), Fraction(body.split(",")[1])}
    return {Fraction(re.split(r"[.,]+", body)[-1])}


def _chinese(numeral: str) -> int:
    if not set(numeral) & (_UNITS.keys() | _MYRIADS.keys()):
        return int("".join(str(_DIGITS[char]) for char in numeral[:_LONGEST]))
    total = section = digit = 0
    for char in numeral[:_LONGEST]:
        if char in _DIGITS:
            digit = _DIGITS[char]
        elif char in _UNITS:
            section += (digit or 1) * _UNITS[char]
            digit = 0
        else:
            total = (total + section + digit) * _MYRIADS[char]
            section = digit = 0
    return total + section + digit


def _english(words: str) -> int:
    total = section = 0
    for word in re.findall(r"[a-z]+", words.lower()):
        if word in _WORDS:
            section += _WORDS[word]
        elif word == "hundred":
            section = (section or 1) * 100
        elif word in _WORD_SCALES:
            total += (section or 1) * _WORD_SCALES[word]
            section = 0
    return total + section
