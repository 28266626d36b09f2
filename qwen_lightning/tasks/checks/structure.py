"""Structure: how the answer begins and ends, and the marked parts that it has."""

from __future__ import annotations

import re

from pydantic import Field

from qwen_lightning.records import GeneralRecord
from qwen_lightning.tasks.checks.base import Check, CheckResult, counted, passed

CONSTRAINED_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


class Title(Check):
    """A title in double angular brackets, `<<title>>`, on one line."""

    type = "title"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        titles = re.findall(r"<<[^\n]+>>", answer)
        return passed(any(title.lstrip("<").rstrip(">").strip() for title in titles), "no <<title>>")


class NumberPlaceholders(Check):
    """At least so many placeholders in square brackets, as `[address]`."""

    type = "number_placeholders"
    num_placeholders: int = Field(ge=0)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        # The optional end keeps an unclosed bracket from being looked at again and again.
        count = re.findall(r"\[[^\]\n]*(\]?)", answer).count("]")
        return counted(count, "at least", self.num_placeholders, "placeholders in []")


class Postscript(Check):
    """A postscript that starts with the marker, `P.S.` or `P.P.S` or another."""

    type = "postscript"
    postscript_marker: str = Field(min_length=1)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        marker = self.postscript_marker.strip()
        patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
        found = re.search(patterns.get(marker, re.escape(marker.lower())), answer.lower())
        return passed(found is not None, f"no postscript {marker!r}")


class MultipleSections(Check):
    """At least so many sections, each begun by the word and a number, as `Section 1`."""

    type = "multiple_sections"
    section_spliter: str = Field(min_length=1)
    num_sections: int = Field(ge=1)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        heads = re.findall(rf"{re.escape(self.section_spliter.strip())}\s?\d+", answer)
        return counted(len(heads), "at least", self.num_sections, f"sections {self.section_spliter!r}")


class NumberBulletLists(Check):
    """Exactly so many Markdown bullet points, `* point` or `- point`."""

    type = "number_bullet_lists"
    num_bullets: int = Field(ge=0)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        # Each pattern also takes white space without a bullet, so that blank lines are read once.
        stars = re.findall(r"^\s*+((?:\*[^\*].*$)?)", answer, re.MULTILINE)
        dashes = re.findall(r"^\s*+((?:-.*$)?)", answer, re.MULTILINE)
        return counted(sum(map(bool, stars + dashes)), "exactly", self.num_bullets, "bullet points")


class NumberHighlightedSections(Check):
    """At least so many parts highlighted by `*asterisks*` or `**asterisks**`."""

    type = "number_highlighted_sections"
    num_highlights: int = Field(ge=0)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        single = [part for part in re.findall(r"\*[^\n\*]*\*", answer) if part.strip("*").strip()]
        double = [part for part in re.findall(r"\*\*[^\n\*]*\*\*", answer) if part[2:-2].strip()]
        return counted(len(single) + len(double), "at least", self.num_highlights, "highlighted parts")


class ConstrainedResponse(Check):
    """One of `My answer is yes.`, `My answer is no.`, `My answer is maybe.`, or of one's own `options`, occurs."""

    type = "constrained_response"
    options: list[str] = Field(default=list(CONSTRAINED_OPTIONS), min_length=1)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        return passed(any(option in answer for option in self.options), f"none of {self.options}")


class TwoResponses(Check):
    """Two different answers, divided by six asterisks."""

    type = "two_responses"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        parts = [part.strip() for part in answer.split("******")]
        if "" in parts[1:-1]:
            return CheckResult(0.0, "an empty answer between two ******")
        answers = [part for part in parts if part]
        if len(answers) != 2:
            return CheckResult(0.0, f"{len(answers)} answers divided by ******, not 2")
        return passed(answers[0] != answers[1], "the two answers are the same")


class RepeatPrompt(Check):
    """The answer starts with the prompt, in any case; with the record's `input` where none is given."""

    type = "repeat_prompt"
    prompt_to_repeat: str | None = Field(default=None, min_length=1)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        prompt = self.prompt_to_repeat or record.input
        return passed(answer.strip().lower().startswith(prompt.strip().lower()), "does not start with the prompt")


class StartPhrase(Check):
    """The answer starts with the phrase, in any case."""

    type = "start_phrase"
    start_phrase: str = Field(min_length=1)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        start = answer.strip().lstrip('"').lower()
        return passed(start.startswith(self.start_phrase.strip().lower()), f"does not start with {self.start_phrase!r}")


class EndPhrase(Check):
    """The answer ends with the phrase, in any case; quotation marks around the answer do not count."""

    type = "end_phrase"
    end_phrase: str = Field(min_length=1)

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        end = answer.strip().strip('"').lower()
        return passed(end.endswith(self.end_phrase.strip().lower()), f"does not end with {self.end_phrase!r}")


class Quotation(Check):
    """The whole answer stands in double quotation marks."""

    type = "quotation"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        text = answer.strip()
        return passed(len(text) > 1 and text[0] == text[-1] == '"', "not in double quotation marks")
