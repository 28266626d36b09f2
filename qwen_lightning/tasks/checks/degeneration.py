"""Degeneration: text that repeats itself."""

from __future__ import annotations

import re

from pydantic import Field

from qwen_lightning.records import GeneralRecord
from qwen_lightning.tasks.checks.base import Check, CheckResult, passed
from qwen_lightning.tasks.checks.segmentation import tokens

# A unit with a letter, ten times on end: loops without spaces, which n-grams of words do not see.
_LOOP = re.compile(r"([^\W\d_].{0,19}?)\1{9,}", re.DOTALL)


def repeated_share(text: str, n: int) -> float:
    """seq-rep-n, the share of n-grams that occurred before: 1 - distinct-n (Welleck and others, 2020).

    Args:
        text: The text; its tokens are words, and characters of scripts without spaces.
        n: Length of the n-grams in tokens.
    """
    units = tokens(text)
    grams = [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


class NoRepetition(Check):
    """At most this share of the n-grams is repeated (seq-rep-n = 1 - distinct-n), and nothing loops ten times."""

    type = "no_repetition"
    n: int = Field(default=4, ge=1)
    max_repeated: float = Field(default=0.4, ge=0, le=1)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        if loop := _LOOP.search(answer):
            return CheckResult(0.0, f"{loop[1]!r} ten times on end")
        share = repeated_share(answer, self.n)
        return passed(share <= self.max_repeated, f"{share:.0%} of the {self.n}-grams are repeated")
