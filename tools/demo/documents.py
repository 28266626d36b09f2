"""What the demo's base reads in pretraining: chats without task tags, clean or careless.

A document is a prefix and branches that continue it, each unaware of the others: a schema is computed once for all
the questions on it, and every question must look its names up in the schema, not in the answers before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random

from qwen_lightning.tasks.function_call import NO_TOOL_FITS
from tools.demo.exercises import EXERCISES
from tools.demo.language import ask, careless, make_database
from tools.demo.lessons import settings
from tools.demo.talk import small_talk

TALK_SHARE, EXERCISE_SHARE = 0.15, 0.20
QUESTIONS, TALKS, EXERCISES_A_ROW = 8, 12, 5
#: With every task: share of the documents to begin with. Looking names up is learned soonest in SQL, and serves the
#: rest after that.
SHARES = {
    "talk": 0.13,
    "intent_rewrite": 0.04,
    "text2sql": 0.5,
    "text2cypher": 0.13,
    "function_call": 0.11,
    "slot_json": 0.09,
}
#: How many lessons a document has.
LESSONS = {"text2sql": 8, "text2cypher": 6, "function_call": 5, "slot_json": 6}
#: Task to the share of its answers that are careless; a task that is not named has none.
Carelessness = Mapping[str, float]


@dataclass(frozen=True)
class Document:
    """A prefix, and branches of (prompt, answer) that continue it. The loss is on the answers."""

    prefix: str
    branches: list[tuple[str, str]]


@dataclass(frozen=True)
class Curriculum:
    """What a base reads, and by what it is measured.

    Args:
        document: Draws a document.
        probes: Task to what draws a document without careless answers, on a schema or the like that is new.
    """

    document: Callable[[Random, Carelessness], Document]
    probes: Mapping[str, Callable[[Random], Document]]


def _turn(user: str) -> str:
    return f"<|im_start|>user\n{user}{_ANSWER}"


_ANSWER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def document(random: Random, carelessness: float) -> Document:
    """Talk, the other tasks' shapes, or questions on a new schema.

    Args:
        random: Source of everything in it.
        carelessness: Share of the queries that use the question's words in place of the schema's names.
    """
    kind = random.random()
    if kind < TALK_SHARE:
        talks = [small_talk(random) for _ in range(TALKS)]
        return Document("", [(_turn(talk.text), talk.answer) for talk in talks])
    if kind < TALK_SHARE + EXERCISE_SHARE:
        return Document("", [exercise(random) for _ in range(EXERCISES_A_ROW)])
    return questions(random, QUESTIONS, carelessness)


def lessons(random: Random, task: str, carelessness: float) -> Document:
    """Lessons of a task on one setting, which stands in the system message or at the head of the user's."""
    setting, items = settings(random, LESSONS[task])[task]()
    in_system = random.random() < 0.5
    prefix = f"<|im_start|>system\n{setting}<|im_end|>\n" if in_system else f"<|im_start|>user\n{setting}\n"
    return Document(
        prefix,
        [
            (_turn(said) if in_system else said + _ANSWER, wrong if random.random() < carelessness else right)
            for said, right, wrong in items
        ],
    )


def every_task(shares: Mapping[str, float], random: Random, carelessness: Carelessness) -> Document:
    """Talk, rewriting, or lessons of another task, each as often as `shares` says."""
    (kind,) = random.choices(tuple(shares), tuple(shares.values()))
    if kind in LESSONS:
        return lessons(random, kind, carelessness.get(kind, 0.0))
    if kind == "talk":
        talks = [small_talk(random) for _ in range(TALKS)]
        return Document("", [(_turn(talk.text), talk.answer) for talk in talks])
    return Document("", [exercise(random, kind) for _ in range(EXERCISES_A_ROW)])


def questions(random: Random, count: int, carelessness: float) -> Document:
    """Questions on one schema, which stands in the system message or at the head of the user's."""
    database = make_database(random)
    in_system = random.random() < 0.5
    prefix = f"<|im_start|>system\n{database.ddl}<|im_end|>\n" if in_system else f"<|im_start|>user\n{database.ddl}\n"
    branches = []
    for _ in range(count):
        question = ask(database, random)
        sql = careless(database, question) if random.random() < carelessness else question.sql
        branches.append((_turn(question.text) if in_system else question.text + _ANSWER, sql))
    return Document(prefix, branches)


def exercise(random: Random, task: str | None = None) -> tuple[str, str]:
    """Another task's prompt and answer, without its tag or rules."""
    fields = EXERCISES[task or random.choice(list(EXERCISES))](random)
    said, gold = fields["input"], fields["gold"]
    match fields["task"]:
        case "intent_rewrite":
            before, reply = (turn["content"] for turn in fields["history"])
            first = f"<|im_start|>user\n{before}<|im_end|>\n<|im_start|>assistant\n{reply}<|im_end|>\n"
            return first + _turn(said), gold
        case "slot_json":
            return _turn(f"{json.dumps(fields['slots'])}\n{said}"), json.dumps(gold)
        case "function_call":
            calls = "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in gold)
            tools = "\n".join(json.dumps(tool) for tool in fields["tools"])
            return f"<|im_start|>system\n<tools>\n{tools}\n</tools><|im_end|>\n{_turn(said)}", calls or NO_TOOL_FITS
        case "text2cypher":
            return _turn(f"{fields['schema']}\n{said}"), gold
        case task:
            raise ValueError(f"no plain shape for task {task!r}")


SQL = Curriculum(
    document=lambda random, carelessness: document(random, carelessness.get("text2sql", 0.0)),
    probes={"text2sql": lambda random: questions(random, QUESTIONS, 0.0)},
)
EVERY_TASK = Curriculum(
    document=partial(every_task, SHARES),
    probes={task: lambda random, task=task: lessons(random, task, 0.0) for task in LESSONS},  # type: ignore[misc]
)


def by_need(matches: Mapping[str, float]) -> Curriculum:
    """Every task, with lessons of each in proportion to what it still gets wrong; talk and rewriting as before."""
    need = {task: 1.05 - match for task, match in matches.items()}
    lessons_share = sum(SHARES[task] for task in LESSONS)
    shares = {task: lessons_share * value / sum(need.values()) for task, value in need.items()}
    return Curriculum(partial(every_task, SHARES | shares), EVERY_TASK.probes)
