"""IFEval's instruction ids and the checks that stand for them (Zhou and others, 2023, arXiv:2311.07911)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen_lightning.errors import DataError

# Arguments keep IFEval's names, so that only the name of the instruction is translated.
IFEVAL_TYPES: dict[str, str] = {
    "change_case:capital_word_frequency": "capital_word_frequency",
    "change_case:english_capital": "english_capital",
    "change_case:english_lowercase": "english_lowercase",
    "combination:repeat_prompt": "repeat_prompt",
    "combination:two_responses": "two_responses",
    "detectable_content:number_placeholders": "number_placeholders",
    "detectable_content:postscript": "postscript",
    "detectable_format:constrained_response": "constrained_response",
    "detectable_format:json_format": "json_format",
    "detectable_format:multiple_sections": "multiple_sections",
    "detectable_format:number_bullet_lists": "number_bullet_lists",
    "detectable_format:number_highlighted_sections": "number_highlighted_sections",
    "detectable_format:title": "title",
    "keywords:existence": "keyword_existence",
    "keywords:forbidden_words": "forbidden_words",
    "keywords:frequency": "keyword_frequency",
    "keywords:letter_frequency": "letter_frequency",
    "language:response_language": "language",
    "length_constraints:nth_paragraph_first_word": "nth_paragraph_first_word",
    "length_constraints:number_paragraphs": "number_paragraphs",
    "length_constraints:number_sentences": "number_sentences",
    "length_constraints:number_words": "number_words",
    "punctuation:no_comma": "no_comma",
    "startend:end_checker": "end_phrase",
    "startend:quotation": "quotation",
}


def from_ifeval(instruction_id: str, kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The entry of a record's `checks` for one instruction; arguments that are null are left out.

    Raises:
        DataError: The id is none of IFEval's 25.
    """
    if instruction_id not in IFEVAL_TYPES:
        raise DataError(f"unknown IFEval instruction {instruction_id!r}; known: {', '.join(sorted(IFEVAL_TYPES))}")
    arguments = {name: value for name, value in (kwargs or {}).items() if value is not None}
    return {"type": IFEVAL_TYPES[instruction_id], **arguments}
