"""When two utterances say the same, and how much of one stands in the other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from qwen_lightning.tasks.checks.segmentation import UNSPACED, tokens

# Quotation marks and dashes that NFKC leaves apart from those of ASCII.
_MARKS = str.maketrans("‘’‚‛“”„‟‐‑‒–—―−", "''''\"\"\"\"-------")
_BESIDE_UNSPACED = re.compile(rf" (?=[{UNSPACED}])|(?<=[{UNSPACED}]) ")
_ENDS = " .?!…。;"


@lru_cache(maxsize=4096)  # a group of completions shares its gold
def canonical(text: str) -> str:
    """An utterance without what does not change what it asks for.

    Folded are case, width (NFKC), the forms of quotation marks and dashes, and white space, which beside characters of
    scripts written without spaces is left out. Final full stops, question and exclamation marks go; a text of nothing
    else stays as it is.
    """
    folded = unicodedata.normalize("NFKC", text).translate(_MARKS).casefold()
    folded = _BESIDE_UNSPACED.sub("", " ".join(folded.split()))
    return folded.rstrip(_ENDS) or folded


def rouge_l(gold: str, said: str) -> float:
    """ROUGE-L with F1 (Lin, 2004): the longest common subsequence of words, or of characters where none are spaced.

    Returns:
        In [0, 1]; 1 where both have the same tokens in the same order.
    """
    wanted, given = tokens(gold), tokens(said)
    if not wanted or not given:
        return float(canonical(gold) == canonical(said))
    return 2 * longest_common_subsequence(wanted, given) / (len(wanted) + len(given))


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence, by bit vectors (Hyyrö, 2004): linear in a short `first`."""
    places: dict[str, int] = {}
    for position, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << position
    everywhere = (1 << len(first)) - 1
    row = everywhere
    for token in second:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & everywhere
    return len(first) - row.bit_count()
