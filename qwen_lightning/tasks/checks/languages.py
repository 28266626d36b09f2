"""Which language a text is in."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any

import regex

from qwen_lightning.tasks.checks.segmentation import outside_code

# Scripts that one language owns, or that narrow the choice to a few.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "Hangul": ("ko",),
    "Thai": ("th",),
    "Greek": ("el",),
    "Hebrew": ("he",),
    "Bengali": ("bn",),
    "Tamil": ("ta",),
    "Telugu": ("te",),
    "Gujarati": ("gu",),
    "Gurmukhi": ("pa",),
    "Kannada": ("kn",),
    "Malayalam": ("ml",),
    "Devanagari": ("hi", "mr", "ne"),
    "Arabic": ("ar", "fa", "ur"),
    "Cyrillic": ("ru", "uk", "bg", "mk"),
    "Latin": tuple(
        "af ca cs cy da de en es et fi fr hr hu id it lt lv nl no pl pt ro sk sl so sq sv sw tl tr vi".split()  # noqa: SIM905
    ),
}
LANGUAGES = frozenset({"zh", "ja"} | {language for languages in SCRIPTS.values() for language in languages})
# A word of a spaced script weighs as much as a character of one without spaces.
_WORD = regex.compile(
    r"[\p{Han}]|\p{Hiragana}+|\p{Katakana}+|[\p{L}\p{M}--[\p{Han}\p{Hiragana}\p{Katakana}]]+", regex.V1
)
_OF_SCRIPT = {name: regex.compile(rf"\p{{{name}}}") for name in ("Han", "Hiragana", "Katakana", *SCRIPTS)}
_ENOUGH_LETTERS = 20  # below this many, languages of one script cannot be told apart with any certainty
_LIKELY = 0.2


@lru_cache(maxsize=1)
def _factory() -> Any:
    from langdetect import DetectorFactory
    from langdetect.detector_factory import PROFILES_DIRECTORY

    factory = DetectorFactory()
    factory.seed = 0  # the detector samples; a verdict must not change from run to run
    factory.load_profile(os.fspath(PROFILES_DIRECTORY))
    return factory


def probabilities(text: str) -> dict[str, float]:
    """Language code to probability, by langdetect with a fixed seed; empty where the text has no features."""
    from langdetect import LangDetectException

    detector = _factory().create()
    detector.append(text)
    try:
        return {found.lang: found.prob for found in detector.get_probabilities()}
    except LangDetectException:
        return {}


def detected(text: str) -> str | None:
    """The most probable language as langdetect names it (`zh-cn`, `zh-tw`); None where it cannot tell."""
    found = probabilities(text)
    return max(found, key=lambda language: found[language]) if found else None


def is_in(text: str, language: str) -> bool | None:
    """Whether the running text is in a language; code and addresses are left out.

    Decided by script where that suffices, else by langdetect, and for a few words by script alone.

    Returns:
        None where the text has no letters.
    """
    prose = outside_code(text)
    scripts = _script_counts(prose)
    total = sum(scripts.values())
    if not total:
        return None
    han, kana = scripts.get("Han", 0), scripts.get("Kana", 0)
    if language == "zh":
        return 2 * han > total and kana * 20 < han
    if language == "ja":
        return 2 * (han + kana) > total and kana * 20 >= han
    script = next(name for name, languages in SCRIPTS.items() if language in languages)
    if 2 * scripts.get(script, 0) <= total:
        return False
    letters = sum(map(len, re.findall(r"[^\W\d_]+", prose)))
    if len(SCRIPTS[script]) == 1 or letters < _ENOUGH_LETTERS:
        return True
    return probabilities(prose).get(language, 0.0) >= _LIKELY


def language_of(text: str) -> str | None:
    """The language of a text as a code of `LANGUAGES`; None where it has too few letters to tell."""
    prose = outside_code(text)
    for language in ("zh", "ja", *(languages[0] for languages in SCRIPTS.values() if len(languages) == 1)):
        if is_in(prose, language):
            return language
    if sum(map(len, re.findall(r"[^\W\d_]+", prose))) < _ENOUGH_LETTERS:
        return None
    found = (detected(prose) or "").split("-")[0]
    return found if found in LANGUAGES else None


def _script_counts(text: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in _WORD.findall(text):
        script = next((name for name, pattern in _OF_SCRIPT.items() if pattern.match(word)), "other")
        script = "Kana" if script in ("Hiragana", "Katakana") else script
        counts[script] = counts.get(script, 0) + 1
    return counts
