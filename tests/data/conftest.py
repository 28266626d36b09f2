"""Records written as they are needed, and a registry of all tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.records import Located, RecordReader
from qwen_lightning.tasks.registry import TaskRegistry

DDL = "CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT);"
TOOL = {"type": "function", "function": {"name": "find", "description": "", "parameters": {"type": "object"}}}
FIELDS: dict[str, dict[str, Any]] = {
    "intent_rewrite": {"gold": "what does it cost"},
    "slot_json": {"slots": {"type": "object", "properties": {"city": {"type": "string"}}}, "gold": {"city": "rome"}},
    "function_call": {"tools": [TOOL], "gold": [{"name": "find", "arguments": {}}]},
    "text2sql": {"schema": DDL, "dialect": "postgres", "gold": "SELECT name FROM singer"},
    "text2cypher": {"schema": "(:Singer {name: STRING})", "gold": "MATCH (s:Singer) RETURN s.name"},
    "general": {"gold": "certainly"},
    "persona": {"gold": "I am Lightning"},
}


def record(task: str, number: int, **changes: Any) -> dict[str, Any]:
    """A valid record of a task; the number makes its question its own."""
    return {"id": f"{task}-{number}", "task": task, "input": f"{task} question {number}", **FIELDS[task], **changes}


Write = Callable[[str, Iterable[dict[str, Any]]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a record file."""

    def to_file(name: str, records: Iterable[dict[str, Any]]) -> Path:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in records), encoding="utf-8")
        return path

    return to_file


@pytest.fixture(scope="session")
def make() -> Callable[..., dict[str, Any]]:
    """Makes a record as JSON."""
    return record


@pytest.fixture(scope="session")
def registry() -> TaskRegistry:
    """All tasks, SQL checked statically."""
    return TaskRegistry()


@pytest.fixture
def located(write: Write) -> Callable[[str, Iterable[dict[str, Any]]], list[Located]]:
    """Writes records and reads them back with their places."""
    return lambda name, records: RecordReader().read(write(name, records))
