"""Prompt completion: a plain request, put into the words that its task was trained on, by the tasks' own code.

What a request holds is found apart (schema, tools or slots; the question; the turns before it), a record is made of it,
and the task renders the record as it does in training. Where that cannot be done safely, the user's messages stay as
they are, under the task's tag and rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qwen_lightning.errors import DataError, RequestError
from qwen_lightning.records import RecordBase, Turn
from qwen_lightning.serving.requests import ChatMessage, ChatRequest
from qwen_lightning.serving.routing.boilerplate import is_only_boilerplate, trim, trim_instruction
from qwen_lightning.serving.routing.found import MARK, Found, cut
from qwen_lightning.serving.routing.labelled import labelled
from qwen_lightning.serving.routing.router import CHAT
from qwen_lightning.serving.routing.signals import Signals
from qwen_lightning.serving.routing.slot_schemas import is_object_schema
from qwen_lightning.serving.routing.transcripts import read_transcript
from qwen_lightning.serving.routing.wording import named_dialects
from qwen_lightning.tasks.base import Message, Prompt, Task
from qwen_lightning.tasks.registry import TaskRegistry

DEFAULT_DIALECT = "postgres"
_RECORD_ID = "request"
#: Task to the kinds of schema that its records take.
_SCHEMAS = {"text2sql": ("ddl",), "text2cypher": ("graph_schema",), "slot_json": ("json_schema", "fields")}


@dataclass(frozen=True, slots=True)
class Completion:
    """A request as its task asks it.

    Args:
        prompt: What the model sees.
        record: The record it was made of, by which an answer can be verified; None where the messages were kept.
        note: What was done, in one line.
    """

    prompt: Prompt
    record: RecordBase | None
    note: str


@dataclass(frozen=True, slots=True)
class _Parts:
    """A request taken apart: what is left of the system messages, the turns before the last, and the last."""

    history: list[Turn]
    input: str


def complete(
    request: ChatRequest, signals: Signals, tasks: TaskRegistry, name: str, systems: Mapping[str, str] | None = None
) -> Completion:
    """Build the prompt that the task's adapter was trained on.

    Args:
        request: The request.
        signals: What it bears.
        tasks: The tasks that there are.
        name: The one that the router chose.
        systems: Task to a system message that requests without one get, such as the persona's description.

    Raises:
        RequestError: Tools or schema of the request cannot be used; the error names the field.
    """
    task, tools = tasks[name], [tool.model_dump() for tool in request.usable_tools]
    if name in CHAT:
        return _chat(request, signals, tasks, task, tools, (systems or {}).get(task.name))
    if request.messages[-1].role in ("tool", "function"):
        return _kept(request, signals, task, tools, "the last message is no user's")
    fields, why_not = _fields(request, signals, task, tools)
    if why_not:
        return _kept(request, signals, task, tools, why_not)
    parts = _take_apart(request, signals, task)
    if parts is None:
        return _kept(request, signals, task, tools, "what is asked cannot be told apart")
    by_format = name == "slot_json" and _response_schema(request) is not None
    field = "tools" if name == "function_call" else "response_format.json_schema.schema" if by_format else "messages"
    record = _record(tasks, name, fields, parts, field)
    if record is None:
        return _kept(request, signals, task, tools, f"a {task.name} record needs more than a request holds")
    return Completion(task.prompt(record), record, f"prompt as in training{_told(task, fields)}")


def _told(task: Task[Any], fields: Mapping[str, Any]) -> str:
    if task.name == "text2sql":
        return f": schema and question found apart, dialect {fields['dialect']}"
    return ": schema and question found apart" if task.name in _SCHEMAS else ""


def _chat(
    request: ChatRequest,
    signals: Signals,
    tasks: TaskRegistry,
    task: Task[Any],
    tools: list[dict[str, Any]],
    system: str | None,
) -> Completion:
    """Chat has no rule; what tools returned is answered with the tools still at hand."""
    turns = [message.turn() for message in _untagged(request, signals)]
    if system and not any(turn.role == "system" for turn in turns):
        turns.insert(0, Turn(role="system", content=system))
        note = "the system message of the config"
    else:
        note = "messages kept"
    if turns[-1].role == "user" and not tools and turns[-1].content:
        record = _record(tasks, task.name, {}, _Parts(turns[:-1], turns[-1].content))
        if record is not None:
            return Completion(task.prompt(record), record, note)
    return Completion(Prompt(_messages(turns, []), tools), None, note)


def _kept(request: ChatRequest, signals: Signals, task: Task[Any], tools: list[dict[str, Any]], why: str) -> Completion:
    """The user's messages under the task's tag and rule."""
    turns = [message.turn() for message in _untagged(request, signals)]
    head = [task.tag(_blank(task, {"dialect": _dialect(request, signals)})) or ""]
    if task.rule and not any(task.rule in turn.content for turn in turns if turn.role == "system"):
        head.append(task.rule)
    if (schema := _response_schema(request)) is not None and task.name == "slot_json":
        head[1:] = [task.system(_blank(task, {"slots": schema}))]
    return Completion(
        Prompt(_messages(turns, head), tools), None, f"messages kept under the task's tag and rule: {why}"
    )


def _messages(turns: list[Turn], head: list[str]) -> list[Message]:
    parts = [*head, *(turn.content for turn in turns if turn.role == "system")]
    system = "\n".join(part for part in parts if part)
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    return messages + [{"role": turn.role, "content": turn.content} for turn in turns if turn.role != "system"]


def _blank(task: Task[Any], fields: Mapping[str, Any]) -> RecordBase:
    """A record that has nothing but these fields, for a tag or a system message that reads no other."""
    return task.record_type.model_construct(id=_RECORD_ID, task=task.name, input="", **fields)


def _untagged(request: ChatRequest, signals: Signals) -> list[ChatMessage]:
    """The messages without the task tag; one that held nothing else is left out."""
    if signals.tag is None:
        return list(request.messages)
    first = request.messages[0]
    rest = first.content[signals.tag.length :]
    kept = [first.model_copy(update={"content": rest})] if rest.strip() else []
    return [*kept, *request.messages[1:]]


def _response_schema(request: ChatRequest) -> dict[str, Any] | None:
    wanted = request.response_format.json_schema if request.response_format else None
    return wanted.json_schema if wanted is not None and is_object_schema(wanted.json_schema) else None


def _dialect(request: ChatRequest, signals: Signals) -> str:
    """The dialect of the tag, or the one that the request names; the default where it names none or several."""
    if signals.tag is not None and signals.tag.options.get("DIALECT"):
        return signals.tag.options["DIALECT"].lower()
    pieces = signals.schemas.get("ddl", {})
    said = "\n".join(
        cut(message.content, pieces.get(index, ()))
        for index, message in enumerate(request.messages)
        if message.role in ("system", "developer", "user")
    )
    named = named_dialects(said)
    return named[0] if len(named) == 1 else DEFAULT_DIALECT


def _fields(
    request: ChatRequest, signals: Signals, task: Task[Any], tools: list[dict[str, Any]]
) -> tuple[dict[str, Any], str]:
    """What the task's record needs beside input and history, or why the request does not give it."""
    if task.name == "function_call":
        return ({"tools": tools}, "") if tools else ({}, "the request brings no tools")
    if task.name == "slot_json" and (wanted := _response_schema(request)) is not None:
        return {"slots": {"type": "object", **wanted}}, ""
    kinds = _SCHEMAS.get(task.name)
    if kinds is None:
        return {}, ""
    found = [piece.value for kind in kinds for _, pieces in sorted(signals.schemas[kind].items()) for piece in pieces]
    if not found:
        return {}, "no schema was found that can be told apart from the text"
    if task.name == "slot_json":
        if len(found) > 1 and any(piece != found[0] for piece in found):
            return {}, "there are several lists of slots"
        return {"slots": {"type": "object", **found[0]}}, ""
    text = "\n".join(dict.fromkeys(found))
    return {"schema": text, **({"dialect": _dialect(request, signals)} if task.name == "text2sql" else {})}, ""


def _take_apart(request: ChatRequest, signals: Signals, task: Task[Any]) -> _Parts | None:
    """Turns and last question without schemas and boilerplate; None where no question is left."""
    pieces: dict[int, list[Found]] = {}
    for kind in _SCHEMAS.get(task.name, ()):
        for index, found in signals.schemas[kind].items():
            pieces.setdefault(index, []).extend(found)
    if signals.tag is not None:
        pieces.setdefault(0, []).append(Found(0, signals.tag.length, None))
    turns: list[Turn] = []
    for index, message in enumerate(request.messages):
        role = message.turn().role
        if role in ("assistant", "tool"):
            turns.append(message.turn())
            continue
        text = cut(message.content, pieces[index]) if index in pieces else message.content
        if role == "system":
            kept = _instruction(text, message.content, task)
            turns += [Turn(role="system", content=kept)] if kept else []
        elif index < len(request.messages) - 1 and (index not in pieces or task.name == "intent_rewrite"):
            turns.append(Turn(role="user", content=text))  # an earlier turn, to the letter
        else:
            asked = _asked(text, message.content, pieces.get(index, []), task) if text else []
            earlier = index < len(request.messages) - 1
            turns += [Turn(role="user", content=text)] if text and earlier and not asked else asked
    place = max((at for at, turn in enumerate(turns) if turn.role == "user"), default=None)
    if place is None or any(turn.role in ("assistant", "tool") for turn in turns[place + 1 :]):
        return None
    return _Parts([turn for at, turn in enumerate(turns) if at != place], turns[place].content)


def _asked(text: str, whole: str, pieces: list[Found], task: Task[Any]) -> list[Turn]:
    """The turns that a user's message stands for: the question in it, or the conversation that is written out in it.

    Where slots cannot be cut out of their sentence without leaving a gap, the whole message is the question.
    """
    if task.name == "intent_rewrite" and (said := read_transcript(text)) is not None:
        told = [part for part in (_instruction(said.preface, "", task), _instruction(said.after, "", task)) if part]
        return [*(Turn(role="system", content=part) for part in told), *said.turns]
    kept = trim(text, task.name)
    if pieces and (marked := _marked(text, whole, pieces, task)) is not None and len(marked[-1].content) < len(kept):
        return marked
    if MARK in kept:
        return [Turn(role="user", content=whole)]
    if kept == text.strip() and task.name != "intent_rewrite":
        return [Turn(role="user", content=text)]
    return [] if is_only_boilerplate(kept, task.name) else [Turn(role="user", content=kept)]


def _marked(text: str, whole: str, pieces: list[Found], task: Task[Any]) -> list[Turn] | None:
    """The text that the message marks as the one to read, below what else it says; None where it marks none."""
    last = max(piece.end for piece in pieces)
    after = len(cut(whole[:last], pieces))
    split = labelled(text, after)
    if split is None and (mark := text.rfind(MARK)) >= 0 and "\n" in text[mark:]:
        # Fields in a sentence, the text to read in the lines below.
        end = text.index("\n", mark)
        split = (text[:end], text[end:].strip()) if not is_only_boilerplate(text[end:], task.name) else None
    if split is None or MARK in split[1] or not split[1]:
        return None
    told = trim_instruction(split[0], task.name)
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if piece.inline:
            told = told.replace(MARK, whole[piece.start : piece.end], 1)
    return [*([Turn(role="system", content=told)] if told else []), Turn(role="user", content=split[1])]


def _instruction(text: str, whole: str, task: Task[Any]) -> str:
    """What an instruction says beside boilerplate and the task's own rule; empty where that is nothing."""
    if task.rule and task.rule in text:
        text = text.replace(task.rule, "", 1).strip()
    kept = trim_instruction(text, task.name)
    return whole if MARK in kept else kept


def _record(
    tasks: TaskRegistry, name: str, fields: Mapping[str, Any], parts: _Parts, field: str = "messages"
) -> RecordBase | None:
    """The record; None where a task of one's own wants fields that no request has.

    Raises:
        RequestError: Tools, slots or schema of a built-in task break its rules; `field` is where they come from.
    """
    history = [turn.model_dump() for turn in parts.history]
    try:
        return tasks.reader.parse({"id": _RECORD_ID, "task": name, "input": parts.input, "history": history, **fields})
    except DataError as error:
        if not fields:
            return None
        raise RequestError(field, error.message) from None
