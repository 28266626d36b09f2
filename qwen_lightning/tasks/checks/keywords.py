"""Keywords: words and patterns that the answer has or has not."""

from __future__ import annotations

import re
from typing import Annotated

import regex
from pydantic import Field, field_validator

from qwen_lightning.records import GeneralRecord
from qwen_lightning.tasks.checks.base import Check, CheckResult, Relation, counted, passed

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1)]
_PATTERN_SECONDS = 1.0


def as_list(value: str | list[str]) -> list[str]:
    """One text or several, as a list."""
    return [value] if isinstance(value, str) else value


class KeywordExistence(Check):
    """Every keyword occurs, in any case, also inside a word."""

    type = "keyword_existence"
    keywords: Texts

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        missing = [word for word in self.keywords if not re.search(re.escape(word), answer, re.IGNORECASE)]
        return passed(not missing, f"missing {missing}")


class KeywordFrequency(Check):
    """The keyword occurs so often, in any case, also inside a word."""

    type = "keyword_frequency"
    keyword: Text
    frequency: int = Field(ge=0)
    relation: Relation

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        count = len(re.findall(re.escape(self.keyword.strip()), answer, re.IGNORECASE))
        return counted(count, self.relation, self.frequency, f"times {self.keyword!r}")


class ForbiddenWords(Check):
    """None of the words occurs as a whole word, in any case."""

    type = "forbidden_words"
    forbidden_words: Texts

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        found = [word for word in self.forbidden_words if re.search(rf"\b{re.escape(word)}\b", answer, re.IGNORECASE)]
        return passed(not found, f"has {found}")


class LetterFrequency(Check):
    """The character occurs so often, in any case."""

    type = "letter_frequency"
    letter: str = Field(min_length=1, max_length=1)
    let_frequency: int = Field(ge=0)
    let_relation: Relation

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        count = answer.lower().count(self.letter.lower())
        return counted(count, self.let_relation, self.let_frequency, f"times {self.letter!r}")


class _Texts(Check):
    text: Text | Texts
    ignore_case: bool = True

    def _found(self, answer: str) -> list[str]:
        fold = str.casefold if self.ignore_case else str
        return [text for text in as_list(self.text) if fold(text) in fold(answer)]


class Contains(_Texts):
    """Every text occurs."""

    type = "contains"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        missing = [text for text in as_list(self.text) if text not in self._found(answer)]
        return passed(not missing, f"missing {missing}")


class NotContains(_Texts):
    """None of the texts occurs."""

    type = "not_contains"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        found = self._found(answer)
        return passed(not found, f"has {found}")


class Regex(Check):
    """The pattern (syntax of Python's `regex`) is found; with `full` it covers the stripped answer."""

    type = "regex"
    pattern: str = Field(min_length=1)
    full: bool = False
    ignore_case: bool = False

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            regex.compile(value)
        except regex.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return value

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        compiled = regex.compile(self.pattern, regex.IGNORECASE if self.ignore_case else 0)
        find = compiled.fullmatch if self.full else compiled.search
        try:
            match = find(answer.strip() if self.full else answer, timeout=_PATTERN_SECONDS)
        except TimeoutError:
            return CheckResult(None, f"pattern {self.pattern!r} takes more than {_PATTERN_SECONDS:g} s on this answer")
        return passed(match is not None, f"pattern {self.pattern!r} is not found")
