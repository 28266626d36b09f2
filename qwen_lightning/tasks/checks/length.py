"""Length: words, characters, sentences and paragraphs."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from qwen_lightning.records import GeneralRecord
from qwen_lightning.tasks.checks.base import Check, CheckResult, Relation, counted, passed
from qwen_lightning.tasks.checks.segmentation import sentences, words


class NumberWords(Check):
    """The number of words; a run of Chinese counts as one."""

    type = "number_words"
    relation: Relation
    num_words: int = Field(ge=0)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        return counted(len(words(answer)), self.relation, self.num_words, "words")


class NumberCharacters(Check):
    """The number of characters that are not white space; for Chinese, Japanese and the like."""

    type = "number_characters"
    relation: Relation
    num_characters: int = Field(ge=0)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        return counted(len("".join(answer.split())), self.relation, self.num_characters, "characters")


class NumberSentences(Check):
    """The number of sentences."""

    type = "number_sentences"
    relation: Relation
    num_sentences: int = Field(ge=0)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        return counted(len(sentences(answer)), self.relation, self.num_sentences, "sentences")


class NumberParagraphs(Check):
    """Exactly so many paragraphs, divided by `***`; an empty one in the middle fails."""

    type = "number_paragraphs"
    num_paragraphs: int = Field(ge=1)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", answer)]
        if "" in parts[1:-1]:
            return CheckResult(0.0, "an empty paragraph between two ***")
        return counted(sum(map(bool, parts)), "exactly", self.num_paragraphs, "paragraphs divided by ***")


class NthParagraphFirstWord(Check):
    """Exactly so many paragraphs, divided by blank lines, and the nth starts with the word."""

    type = "nth_paragraph_first_word"
    num_paragraphs: int = Field(ge=1)
    nth_paragraph: int = Field(ge=1)
    first_word: str = Field(min_length=1)

    @model_validator(mode="after")
    def _nth_exists(self) -> NthParagraphFirstWord:
        if self.nth_paragraph > self.num_paragraphs:
            raise ValueError(f"nth_paragraph {self.nth_paragraph} is beyond num_paragraphs {self.num_paragraphs}")
        return self

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        # The blank parts are not counted but keep their places, as in IFEval.
        parts = [part.strip() for part in answer.split("\n\n")]
        count = sum(map(bool, parts))
        if count != self.num_paragraphs:
            return counted(count, "exactly", self.num_paragraphs, "paragraphs divided by blank lines")
        paragraph = parts[self.nth_paragraph - 1]
        first = re.split(r"""[.,?!'"]""", paragraph.split()[0].lstrip("'").lstrip('"'))[0].lower() if paragraph else ""
        return passed(first == self.first_word.lower(), f"paragraph {self.nth_paragraph} starts with {first!r}")
