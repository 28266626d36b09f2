"""Lessons: every task with the headroom that SQL has, for the demo that trains all six adapters.

Each task has a setting (tools, a form, a graph) whose names are drawn at random, questions about it, and a careless
answer beside the right one: what one writes without reading the setting. Pretraining teaches both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from qwen_lightning.tasks.function_call import NO_TOOL_FITS
from tools.demo.calls import Call, call_record, make_tool, request
from tools.demo.exercises import Fields
from tools.demo.forms import make_form, slot_record, utter
from tools.demo.graphs import Graph, ask_graph, careless_cypher, cypher_record, make_graph
from tools.demo.language import ask, careless, make_database

#: What is said, the right answer and the careless one.
Lesson = tuple[str, str, str]


def record_makers(graphs: list[Graph]) -> dict[str, Callable[[Random], Fields]]:
    """Task to what draws a record of it; Cypher's are on one of `graphs`."""
    return {
        "slot_json": slot_record,
        "function_call": call_record,
        "text2cypher": lambda random: cypher_record(random.choice(graphs), random),
    }


def settings(random: Random, count: int) -> dict[str, Callable[[], tuple[str, list[Lesson]]]]:
    """Task to what draws a setting's text and `count` lessons on it."""
    return {
        "text2sql": lambda: _sql(random, count),
        "text2cypher": lambda: _cypher(random, count),
        "function_call": lambda: _calls(random, count),
        "slot_json": lambda: _slots(random, count),
    }


def _sql(random: Random, count: int) -> tuple[str, list[Lesson]]:
    database = make_database(random)
    questions = [ask(database, random) for _ in range(count)]
    return database.ddl, [(item.text, item.sql, careless(database, item)) for item in questions]


def _cypher(random: Random, count: int) -> tuple[str, list[Lesson]]:
    graph = make_graph(random)
    questions = [ask_graph(graph, random) for _ in range(count)]
    return graph.schema, [(item.text, item.sql, careless_cypher(graph, item)) for item in questions]


def _calls(random: Random, count: int) -> tuple[str, list[Lesson]]:
    tool = make_tool(random)
    requests = [request(tool, random) for _ in range(count)]
    text = f"<tools>\n{json.dumps(tool.spec)}\n</tools>"
    return text, [(item.text, _said(item.calls), _said(item.careless)) for item in requests]


def _said(calls: list[Call]) -> str:
    return "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls) or NO_TOOL_FITS


def _slots(random: Random, count: int) -> tuple[str, list[Lesson]]:
    form = make_form(random)
    said = [utter(form, random) for _ in range(count)]
    return json.dumps(form.schema), [(item.text, _dump(item.slots), _dump(item.careless)) for item in said]


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value)
