"""Case and punctuation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import Field

from qwen_lightning.records import GeneralRecord
from qwen_lightning.tasks.checks.base import Check, CheckResult, Relation, counted, passed
from qwen_lightning.tasks.checks.languages import detected

# What the Penn Treebank tokenizer sets apart from a word; hyphens, slashes and asterisks stay in it.
_APART = re.compile(r"""[\s,;@#$%&?!()\[\]{}<>"“”„«»‘’:`]+|\.{2,}|--+""")
_CLITICS = ("'s", "'m", "'d", "'ll", "'re", "'ve", "n't")
_JOINED = {"cannot": 3, "gimme": 3, "gonna": 3, "gotta": 3, "lemme": 3, "wanna": 3}


class EnglishCapital(Check):
    """English, all in capital letters."""

    type = "english_capital"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        if not answer.isupper():
            return CheckResult(0.0, "has lowercase letters")
        language = detected(answer)
        return passed(language in ("en", None), f"the language seems to be {language}")


class EnglishLowercase(Check):
    """English, all in lowercase letters."""

    type = "english_lowercase"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        if not answer.islower():
            return CheckResult(0.0, "has capital letters")
        language = detected(answer)
        return passed(language in ("en", None), f"the language seems to be {language}")


class CapitalWordFrequency(Check):
    """The number of words all in capital letters, `I` and `A` among them; a hyphenated word is one."""

    type = "capital_word_frequency"
    capital_frequency: int = Field(ge=0)
    capital_relation: Relation

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        count = sum(word.isupper() for word in treebank_words(answer))
        return counted(count, self.capital_relation, self.capital_frequency, "words in capitals")


class NoComma(Check):
    """No comma."""

    type = "no_comma"

    def measure(self, answer: str, record: GeneralRecord) -> CheckResult:
        return passed("," not in answer, "has a comma")


def _clitic(word: str) -> str:
    return next((end for end in _CLITICS if len(word) > len(end) and word.endswith(end)), "")


def treebank_words(text: str) -> Iterator[str]:
    """Words as the Penn Treebank divides them: `CAN'T` is `CA` and `N'T`, `CANNOT` is `CAN` and `NOT`."""
    for word in _APART.split(text):
        if not word:
            continue
        folded = word.lower()
        # Folding can change a length, as of İ: then there is no clitic to cut.
        while len(folded) == len(word) and (clitic := _clitic(folded)):
            yield word[-len(clitic) :]
            word, folded = word[: -len(clitic)], folded[: -len(clitic)]
        if (cut := _JOINED.get(word.lower().rstrip("."))) is not None:
            yield word[:cut]
            word = word[cut:]
        yield word
