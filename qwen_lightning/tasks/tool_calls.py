"""The base model's tool format, `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, read strictly.

The format is Hermes', as Qwen3's chat template writes it. Reading takes time linear in the completion.
"""

from __future__ import annotations

import json
import re
import string
from dataclasses import dataclass, field
from typing import Any

from qwen_lightning.tasks.strict_json import DECODER

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MAX_CHARACTERS = 100_000
MAX_CALLS = 128
MAX_DEPTH = 32

#: What a call looks like that is not one: the tag written otherwise, and its keys in the middle of a sentence.
_OTHER_TAG = re.compile(r"<\s*/?\s*(tool|function)[ _-]?calls?\s*/?>", re.IGNORECASE)
_KEYS = (re.compile(r'"name"\s*:'), re.compile(r'"arguments"\s*:'))
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that a completion makes."""

    name: str
    arguments: dict[str, Any]


@dataclass(slots=True)
class Answer:
    """A completion, taken apart.

    Args:
        calls: The calls, up to the first block that is none.
        fault: What is wrong with that block, and where; empty where every block is a call.
        extra: Whether text stands outside the blocks. A thought is text, an empty one is the template's.
        blank: Whether nothing is said at all.
    """

    calls: list[Call] = field(default_factory=list)
    fault: str = ""
    extra: bool = False
    blank: bool = False


def read_answer(completion: str) -> Answer:
    """Take a completion apart; whatever it holds, it is read and nothing is raised."""
    text, thought = _without_thought(completion)
    answer = Answer(extra=thought, blank=not text.strip())
    blocks = position = 0
    while (start := text.find(OPEN, position)) >= 0:
        answer.extra = answer.extra or (not text[position:start].isspace() and start > position)
        blocks += 1
        position = _read_block(text, start + len(OPEN), blocks, len(completion), answer)
    answer.extra = answer.extra or bool(text[position:].strip())
    if not blocks and (_OTHER_TAG.search(text) or all(key.search(text) for key in _KEYS) or _is_bare_call(text)):
        answer.fault = f"a call outside {OPEN} and {CLOSE}"
    return answer


def _without_thought(completion: str) -> tuple[str, bool]:
    """The text after a leading thought, and whether the thought says something."""
    text = completion.lstrip()
    if text.startswith("<think>"):
        thought, _, rest = text.removeprefix("<think>").partition("</think>")
        return rest, bool(thought.strip())
    return (text.removeprefix("</think>"), False) if text.startswith("</think>") else (completion, False)


def _read_block(text: str, start: int, number: int, length: int, answer: Answer) -> int:
    """Read the block whose opening tag ends at `start`; returns where it ends."""
    end = start
    if not answer.fault:
        try:
            if length > MAX_CHARACTERS:
                raise ValueError(f"the completion has more than {MAX_CHARACTERS} characters")
            if number > MAX_CALLS:
                raise ValueError(f"more than {MAX_CALLS} calls")
            value, end = DECODER.raw_decode(text, _after_space(text, start))
            call = _call(value, text[start:end])
            end = _after_space(text, end)
            if not text.startswith(CLOSE, end):
                raise ValueError(f"text before {CLOSE}" if CLOSE in text[end:] else f"{CLOSE} is missing")
            answer.calls.append(call)
            return end + len(CLOSE)
        except json.JSONDecodeError as error:
            answer.fault = f"call {number}: not JSON: {error.msg} at character {error.pos - start}"
        except ValueError as error:
            answer.fault = f"call {number}: {error}"
        except RecursionError:
            answer.fault = f"call {number}: nested deeper than {MAX_DEPTH} levels"
    close = text.find(CLOSE, end)
    return len(text) if close < 0 else close + len(CLOSE)


def _after_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _call(value: Any, text: str) -> Call:
    """A decoded block as a call.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, dict):
        raise ValueError(f"a call is a JSON object, not {type(value).__name__}")
    if value.keys() != {"name", "arguments"}:
        missing, unknown = {"name", "arguments"} - value.keys(), value.keys() - {"name", "arguments"}
        raise ValueError(f"has no {min(missing)}" if missing else f"the unknown key {min(unknown)[:40]!r}")
    if not isinstance(value["name"], str) or not isinstance(value["arguments"], dict):
        raise ValueError("name is not a string" if isinstance(value["arguments"], dict) else "arguments is no object")
    # Only a text with many brackets can be deep: most are not walked.
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return Call(value["name"], value["arguments"])


def _depth(value: Any) -> int:
    """How many levels of arrays and objects a value has."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def _is_bare_call(text: str) -> bool:
    """Whether a text without tags is nothing but the JSON of a call, or of a list of them."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].lstrip(string.ascii_letters).strip()
    if text[:1] not in ("{", "[") or len(text) > MAX_CHARACTERS:
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    values = value if isinstance(value, list) else [value]
    return any(isinstance(item, dict) and item.keys() & {"name", "arguments", "function"} for item in values)
