"""What the clients ask: requests made of records, each with the words by which its answer is known."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from qwen_lightning.records import RecordBase
from qwen_lightning.tasks.registry import TaskRegistry
from tools.make_requests import ask

_SAMPLED = 4  # every fourth question is sampled, with a seed of its own; the others are greedy


@dataclass(frozen=True)
class Question:
    """A request.

    Args:
        body: Its JSON, without `stream`.
        marker: Words of the user's that the gold answer repeats, such as a name or a number; they may be none.
    """

    body: dict[str, Any]
    marker: frozenset[str]


def read_records(tasks: TaskRegistry, paths: Sequence[Path], seed: int) -> list[RecordBase]:
    """The records of some files, in an order drawn by the seed, the tasks by turns."""
    by_task: dict[str, list[RecordBase]] = defaultdict(list)
    for path in paths:
        for item in tasks.reader.read(path):
            by_task[item.record.task].append(item.record)
    for records in by_task.values():
        Random(seed).shuffle(records)
    longest = max(map(len, by_task.values()), default=0)
    return [records[turn] for turn in range(longest) for records in by_task.values() if turn < len(records)]


def make_questions(
    records: Sequence[RecordBase], models: Sequence[str], count: int, most_tokens: int, seed: int
) -> list[Question]:
    """Up to `count` questions of unlike text.

    The router chooses, except for chat, which goes to each of `models` in turn, so that every one of them is asked.

    Args:
        records: What is asked.
        models: Names that the server knows.
        count: Questions.
        most_tokens: Longest answer, in tokens.
        seed: Draws each record's layout.
    """
    random, found, chats = Random(seed), list[Question](), 0
    seen: set[str] = set()
    for record in records:
        if len(found) == count:
            break
        asked = list(ask(record))
        if not asked:
            continue
        body = dict(random.choice(asked).request)
        if record.task == "general":
            body["model"] = models[chats % len(models)]
            chats += 1
        text = json.dumps(body, ensure_ascii=False)
        if text in seen:
            continue
        seen.add(text)
        body |= {"max_tokens": most_tokens, "logprobs": True, "top_logprobs": 2, "temperature": 0.0}
        if len(found) % _SAMPLED == 0:
            body |= {"temperature": 0.7, "seed": len(found)}
        found.append(Question(body, _marker(record)))
    return found


def _marker(record: RecordBase) -> frozenset[str]:
    gold = record.gold if isinstance(record.gold, str) else json.dumps(record.gold, ensure_ascii=False, default=str)
    return frozenset(re.findall(r"\w+", record.input)) & frozenset(re.findall(r"\w+", gold))
