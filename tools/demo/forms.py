"""Slot filling in the demo's language: forms of three slots, named at random, and utterances that give some of them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from tools.demo.language import LANGUAGES, NUMBERS, TEXTS, Column, Language

USUAL_AMOUNT = 10


@dataclass(frozen=True)
class Form:
    """Three slots: a free text, a text of an enum, and a number, in an order of their own."""

    slots: tuple[Column, ...]
    enumerated: Column

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of an answer."""
        return {"type": "object", "properties": {slot.name: self._type(slot) for slot in self.slots}}

    def _type(self, slot: Column) -> dict[str, Any]:
        if slot == self.enumerated:
            return {"type": "string", "enum": list(slot.concept.values)}
        return {"type": "string" if slot.is_text else "integer"}


@dataclass(frozen=True)
class Utterance:
    """What is said, the slots that it gives, and the answer of one who fills in the whole form."""

    language: Language
    text: str
    slots: dict[str, Any]
    careless: dict[str, Any]


def make_form(random: Random) -> Form:
    """A form with every name drawn at random."""
    concepts = [*random.sample(TEXTS, 2), random.choice(NUMBERS)]
    slots = [Column(concept, random.choice(concept.names)) for concept in concepts]
    enumerated = slots[0]
    random.shuffle(slots)
    return Form(tuple(slots), enumerated)


def utter(form: Form, random: Random, count: int | None = None) -> Utterance:
    """An utterance that gives `count` slots; without it one to three, most often two.

    The careless answer names what was said in the utterance's words, and makes up the usual value for all the rest.
    """
    language = random.choice(LANGUAGES)
    english = language == "en"
    given = random.sample(form.slots, count or random.choice((1, 2, 2, 3)))
    gold: dict[str, Any] = {}
    careless: dict[str, Any] = {}
    said = []
    for slot in given:
        word = slot.concept.word(language, random)
        value = random.choice(slot.concept.values) if slot.is_text else 5 * random.randint(2, 18)
        said.append(f"{word} {value}" if english else f"{word} 为 {value}")
        gold[slot.name] = value
        careless[word if english else slot.concept.names[0]] = value
    for slot in form.slots:
        if slot not in given:
            careless[slot.name] = slot.concept.values[0] if slot.is_text else USUAL_AMOUNT
    if english:
        text = f"{random.choice(('i want', 'set', 'note'))} {' and '.join(said)}"
    else:
        text = f"{random.choice(('我 要', '设 为', '记下'))} {' 和 '.join(said)}"
    return Utterance(language, text, gold, careless)


def slot_record(random: Random) -> dict[str, Any]:
    """A slot_json record on a form of its own."""
    form = make_form(random)
    return _record(form, utter(form, random))


def full_slot_record(random: Random) -> dict[str, Any]:
    """The same, with an utterance that leaves no slot open: it says nothing of what to do where one is."""
    form = make_form(random)
    return _record(form, utter(form, random, len(form.slots)))


def _record(form: Form, said: Utterance) -> dict[str, Any]:
    return {
        "task": "slot_json",
        "input": said.text,
        "slots": form.schema,
        "gold": said.slots,
        "meta": {"language": said.language},
    }
