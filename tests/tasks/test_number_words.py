"""Numbers in words."""

from __future__ import annotations

import pytest

from qwen_lightning.tasks.number_words import chinese_number, english_number


@pytest.mark.parametrize(
    ("numeral", "value"),
    [
        ("零", 0), ("十", 10), ("十五", 15), ("二十一", 21), ("一百二", 120), ("一百零二", 102), ("一百二十", 120),
        ("三千五", 3500), ("两千零二十六", 2026), ("二〇二六", 2026), ("一万五", 15000), ("一万零五", 10005),
        ("一亿二千万", 120_000_000), ("三万亿", 3 * 10**12), ("百", 100),
    ],
)  # fmt: skip
def test_chinese(numeral: str, value: int) -> None:
    assert chinese_number(numeral) == value


@pytest.mark.parametrize(
    ("words", "value", "taken"),
    [
        ("zero", 0, 1), ("twenty one", 21, 2), ("two three", 2, 1), ("nineteen ninety", 19, 1), ("a hundred", 100, 2),
        ("one hundred and fifty people", 150, 4), ("one hundred and more", 100, 2), ("two thousand and five", 2005, 4),
        ("two hundred thousand", 200_000, 3), ("one million two hundred thousand and three", 1_200_003, 7),
        ("thousand million", 1000, 1), ("ten twenty", 10, 1),
    ],
)  # fmt: skip
def test_english(words: str, value: int, taken: int) -> None:
    assert english_number(words.split()) == (value, taken)


@pytest.mark.parametrize("words", ["a", "a cat", "and five", "twentyone", "hundreds"])
def test_no_number(words: str) -> None:
    assert english_number(words.split()) is None
