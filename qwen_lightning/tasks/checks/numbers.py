"""Numbers as people write them: separators, units, fractions, Chinese numerals."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction

from qwen_lightning.tasks.number_words import CHINESE_NUMERALS, chinese_number, english_number

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
_CHINESE = re.compile(f"[{CHINESE_NUMERALS}]+")
_WORDS = re.compile(r"[^\W\d_]+")
_CLAUSE_END = re.compile(r"[^\w\s-]+")


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
    spelled = [{Fraction(chinese_number(match[0][:_LONGEST]))} for match in _CHINESE.finditer(text)]
    return spelled or [{Fraction(value)} for value in _english(text)]


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


def _english(text: str) -> Iterator[int]:
    # Punctuation other than a hyphen ends a number.
    for clause in _CLAUSE_END.split(text.casefold()):
        words = _WORDS.findall(clause)
        place = 0
        while place < len(words):
            if (read := english_number(words, place)) is None:
                place += 1
            else:
                yield read[0]
                place = read[1]
