"""What a request bears that tells its task: tools, schemas, fields, wording, each with its evidence."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from qwen_lightning.errors import RequestError
from qwen_lightning.serving.requests import ChatRequest
from qwen_lightning.serving.routing.found import Found, cut
from qwen_lightning.serving.routing.graph_listings import draws_graph, find_graphs
from qwen_lightning.serving.routing.graph_schemas import has_inline_pattern
from qwen_lightning.serving.routing.slot_listings import find_slot_listings
from qwen_lightning.serving.routing.slot_schemas import (
    find_fields,
    find_json_schemas,
    find_templates,
    is_object_schema,
    wants_json,
)
from qwen_lightning.serving.routing.sql_schemas import find_ddl, lists_tables, prints_table
from qwen_lightning.serving.routing.transcripts import read_transcript
from qwen_lightning.serving.routing.wording import PATTERNS, compiled, wordings

_TAG = re.compile(r"\A\s*\[TASK=(?P<name>[A-Za-z0-9_]+)(?P<options>(?:\|[^\]|=\n]+=[^\]|\n]*)*)\][ \t]*(?:\n|\Z)")
#: Wording of the last user turn alone; other wording counts in system messages and earlier user turns too.
_LAST_TURN = frozenset(("asks_other", "asks_about", "asks_code", "asks_prose"))
_DEFAULT = compiled(PATTERNS)


@dataclass(frozen=True, slots=True)
class TaskTag:
    """A task tag that the request carries as the first line of its first message.

    Args:
        name: As written.
        options: What stands behind the name, such as `{"DIALECT": "POSTGRES"}`.
        length: How many characters of the message it takes.
    """

    name: str
    options: dict[str, str]
    length: int


@dataclass(frozen=True, slots=True)
class Signals:
    """What a request bears.

    Args:
        evidence: Signal to the words or counts that show it; what is not here, the request does not bear.
        schemas: Message index to the DDL or graph schemas in it, and to JSON Schemas or fields, by kind.
        tag: The task tag, where there is one.
    """

    evidence: dict[str, str]
    schemas: dict[str, dict[int, list[Found]]] = field(default_factory=dict)
    tag: TaskTag | None = None

    def __contains__(self, signal: str) -> bool:
        return signal in self.evidence


def read_tag(text: str) -> TaskTag | None:
    """The task tag that a text begins with."""
    match = _TAG.match(text)
    if match is None:
        return None
    options = dict(part.split("=", 1) for part in match["options"].split("|") if part)
    return TaskTag(match["name"], options, match.end())


def read_signals(request: ChatRequest, more: Mapping[str, tuple[re.Pattern[str], ...]] | None = None) -> Signals:
    """Read what a request bears.

    Args:
        request: The request.
        more: Further wording, signal to patterns.
    """
    evidence: dict[str, str] = {}
    found: dict[str, dict[int, list[Found]]] = {kind: {} for kind in ("ddl", "graph_schema", "json_schema", "fields")}
    first = next(iter(request.messages))
    tag = read_tag(first.content)
    tools = request.usable_tools
    if tools:
        evidence["tools"] = f"{len(tools)} tool{'s' * (len(tools) > 1)}"
    said = [message for message in request.messages if message.role not in ("system", "developer")]
    if said[-1].role in ("tool", "function"):
        evidence["tool_results"] = "the last message is what a tool returned"
    if len(said) > 1:
        evidence["history"] = f"{len(said) - 1} earlier turns"
    instructing: list[str] = []
    last = max(index for index, message in enumerate(request.messages) if message.role == "user")
    last_text = ""
    for index, message in enumerate(request.messages):
        if message.role not in ("system", "developer", "user"):
            continue
        text = message.content
        ddl = find_ddl(text)
        graphs = [] if ddl else find_graphs(text)
        jsons = find_json_schemas(text)
        for kind, pieces in (("ddl", ddl), ("graph_schema", graphs), ("json_schema", jsons)):
            if pieces:
                found[kind][index] = pieces
        rest = cut(text, [*ddl, *graphs, *jsons])
        instructing.append(rest)
        if index == last:
            last_text = rest
        if not ddl and lists_tables(rest):
            evidence.setdefault("table_listing", "tables listed with their columns")
        if not ddl and prints_table(rest):
            evidence.setdefault("table_output", "columns as a database prints them")
        if not graphs and not ddl and (has_inline_pattern(rest) or draws_graph(rest)):
            evidence.setdefault("graph_pattern", "a graph pattern amid the text")
    words = wordings("\n".join(instructing), {**_DEFAULT, **(more or {})})
    of_last = wordings(last_text, {name: _DEFAULT[name] for name in _LAST_TURN})
    evidence |= {name: text for name, text in words.items() if name not in _LAST_TURN} | of_last
    wanted = request.response_format.json_schema if request.response_format else None
    if wanted is not None and is_object_schema(wanted.json_schema):
        evidence["response_schema"] = f"response_format with {len(wanted.json_schema['properties'])} fields"
    elif not found["json_schema"] and "asks_extraction" in evidence:
        for index, message in enumerate(request.messages):
            if message.role in ("system", "developer") or (message.role == "user" and index == last):
                fields = (
                    find_templates(message.content)
                    or find_fields(message.content, wants_json(message.content))
                    or find_slot_listings(message.content)
                )
                if fields:
                    found["fields"][index] = fields
    for kind, name in (
        ("ddl", "DDL"),
        ("graph_schema", "graph schema"),
        ("json_schema", "JSON Schema"),
        ("fields", "fields"),
    ):
        if found[kind]:
            evidence[kind] = _described(kind, name, [piece for pieces in found[kind].values() for piece in pieces])
    if (transcript := read_transcript(request.messages[last].content)) is not None:
        evidence["history"] = f"a transcript of {len(transcript.turns)} turns"
    return Signals(evidence, found, tag)


def _described(kind: str, name: str, pieces: list[Found]) -> str:
    if kind == "fields":
        return "fields " + ", ".join(list(pieces[0].value["properties"])[:4])
    return name


def require_known_tag(tag: TaskTag, names: Collection[str]) -> str:
    """The task that a tag names.

    Raises:
        RequestError: There is no such task.
    """
    name = tag.name.lower()
    if name not in names:
        raise RequestError("messages.0.content", f"unknown task tag {tag.name!r}; tasks are {', '.join(names)}")
    return name
