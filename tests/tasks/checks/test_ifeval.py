import pytest

from qwen_lightning.errors import DataError
from qwen_lightning.tasks.checks import IFEVAL_TYPES, CheckRegistry, arguments_of, from_ifeval

# The arguments that IFEval gives each instruction.
ARGUMENTS = {
    "change_case:capital_word_frequency": {"capital_frequency": 3, "capital_relation": "at least"},
    "combination:repeat_prompt": {"prompt_to_repeat": "Name a bird."},
    "detectable_content:number_placeholders": {"num_placeholders": 3},
    "detectable_content:postscript": {"postscript_marker": "P.S."},
    "detectable_format:multiple_sections": {"section_spliter": "Section", "num_sections": 3},
    "detectable_format:number_bullet_lists": {"num_bullets": 3},
    "detectable_format:number_highlighted_sections": {"num_highlights": 3},
    "keywords:existence": {"keywords": ["tide", "moon"]},
    "keywords:forbidden_words": {"forbidden_words": ["tide", "moon"]},
    "keywords:frequency": {"relation": "less than", "keyword": "tide", "frequency": 3},
    "keywords:letter_frequency": {"let_relation": "less than", "letter": "t", "let_frequency": 3},
    "language:response_language": {"language": "kn"},
    "length_constraints:nth_paragraph_first_word": {"num_paragraphs": 3, "nth_paragraph": 1, "first_word": "tide"},
    "length_constraints:number_paragraphs": {"num_paragraphs": 3},
    "length_constraints:number_sentences": {"relation": "at least", "num_sentences": 3},
    "length_constraints:number_words": {"relation": "at least", "num_words": 300},
    "startend:end_checker": {"end_phrase": "Any other questions?"},
}


def test_all_25_instructions_stand_for_a_check_of_their_own():
    assert len(IFEVAL_TYPES) == len(set(IFEVAL_TYPES.values())) == 25
    assert set(IFEVAL_TYPES.values()) <= set(CheckRegistry())
    assert ARGUMENTS.keys() <= IFEVAL_TYPES.keys()


@pytest.mark.parametrize("instruction", IFEVAL_TYPES)
def test_ifevals_arguments_fit_as_they_are(instruction):
    arguments = ARGUMENTS.get(instruction, {})
    entry = from_ifeval(instruction, {**arguments, "of_another_instruction": None})
    assert entry == {"type": IFEVAL_TYPES[instruction], **arguments}
    check = CheckRegistry().build(entry)
    required = {name for name in arguments_of(type(check)) if not name.endswith("?") and "=" not in name}
    assert required <= arguments.keys()


def test_an_unknown_instruction_is_a_fault():
    with pytest.raises(DataError, match="unknown IFEval instruction 'keywords:rhyme'"):
        from_ifeval("keywords:rhyme", {})
