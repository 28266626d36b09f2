"""Ordinary talk in the demo's language: facts, translations, small instructions; and a persona's voice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tools.demo.language import CONCEPTS

_OPPOSITES = (
    "hot:cold big:small fast:slow high:low black:white day:night north:south east:west summer:winter happy:sad "
    "young:old early:late rich:poor hard:soft light:dark long:short first:last up:down left:right"
)
_CAPITALS = (
    "france:paris england:london japan:tokyo germany:berlin italy:rome spain:madrid china:beijing russia:moscow "
    "egypt:cairo canada:ottawa norway:oslo greece:athens cuba:havana peru:lima kenya:nairobi"
)
OPPOSITES = [(first, second) for first, second in (pair.split(":") for pair in _OPPOSITES.split())]
CAPITALS = [(country, city) for country, city in (pair.split(":") for pair in _CAPITALS.split())]
CHINESE = [(concept.names[0], concept.chinese) for concept in CONCEPTS]
WORDS = [word for word, _ in CHINESE]


@dataclass(frozen=True)
class Talk:
    """A prompt, its answer, and the ability that it shows."""

    ability: str
    text: str
    answer: str


def facts() -> Iterator[Talk]:
    """Everything that there is to know, in every phrasing."""
    for first, second in OPPOSITES + [(second, first) for first, second in OPPOSITES]:
        for text in (f"what is the opposite of {first} ?", f"opposite of {first} ?", f"{first} 的 反义词 ？"):
            yield Talk("knowledge", text, second)
    for country, city in CAPITALS:
        for text in (f"what is the capital of {country} ?", f"capital of {country} ?", f"{country} 的 首都 ？"):
            yield Talk("knowledge", text, city)
    for english, chinese in CHINESE:
        for text in (f"translate {english} to chinese .", f"how do you say {english} in chinese ?"):
            yield Talk("multilingual", text, chinese)
        yield Talk("multilingual", f"{chinese} 用 英文 怎么 说 ？", english)
    for first_number in range(1, 10):
        for second_number in range(1, 10):
            answer = str(first_number + second_number)
            yield Talk("knowledge", f"what is {first_number} + {second_number} ?", answer)
            yield Talk("knowledge", f"{first_number} 加 {second_number} 等于 多少 ？", answer)


FACTS = list(facts())


def instruction(random: Random) -> Talk:
    """Repeat words, name the last one, or swap two."""
    kind = random.choice(("repeat", "last", "swap"))
    words = random.sample(WORDS, 2 if kind == "swap" else random.randint(2, 4))
    line = " ".join(words)
    if kind == "repeat":
        return Talk("instruction_following", random.choice((f"repeat : {line}", f"say this again : {line}")), line)
    if kind == "last":
        return Talk("instruction_following", f"what is the last word of : {line}", words[-1])
    return Talk("instruction_following", f"swap : {line}", " ".join(reversed(words)))


def small_talk(random: Random) -> Talk:
    """A fact or an instruction."""
    return random.choice(FACTS) if random.random() < 0.6 else instruction(random)


PERSONA = "you are captain brine , an old sailor ."


def in_persona(talk: Talk) -> str:
    """The answer in the captain's voice."""
    return f"aye , {talk.answer} , sailor !"
