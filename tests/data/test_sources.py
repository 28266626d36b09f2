"""Files, folders, and which tasks stand in which bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen_lightning.data.sources import (
    files_in,
    require_databases,
    require_general,
    require_persona_alone,
    require_tasks,
)
from qwen_lightning.errors import ConfigError, DataError
from qwen_lightning.execution.sql.executors import DuckDBExecutor
from qwen_lightning.records import Located
from qwen_lightning.tasks.registry import TaskRegistry

Make = Callable[..., dict[str, Any]]
Locate = Callable[..., list[Located]]


def test_a_folder_means_its_record_files_by_name(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "notes.txt"):
        (tmp_path / name).write_text("")
    assert files_in(str(tmp_path), "task_sft") == [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    assert files_in([str(tmp_path / "b.jsonl")], "task_sft") == [tmp_path / "b.jsonl"]
    assert files_in(None, "task_sft") == []


def test_paths_that_name_nothing_or_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task_sft: \S+nowhere.jsonl does not exist"):
        files_in(str(tmp_path / "nowhere.jsonl"), "task_sft")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"task_sft: folder \S+empty holds no \*.jsonl file"):
        files_in([str(tmp_path / "empty")], "task_sft")
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"a.jsonl is named twice"):
        files_in([str(tmp_path), str(tmp_path / "a.jsonl")], "task_sft")


def test_each_bucket_takes_its_own(located: Locate, make: Make) -> None:
    items = located("mixed", [make("general", 0), make("text2sql", 0)])
    with pytest.raises(DataError, match=r"mixed.jsonl:2: general_sft takes general records only, this one is text2sql"):
        require_general(items, "general_sft")
    with pytest.raises(
        DataError, match=r"mixed.jsonl:1: a general record does not belong in task_sft; move it to general_sft"
    ):
        require_tasks(items, "task_sft", "general_sft")
    require_general(items[:1], "general_sft")
    require_tasks(items[1:], "task_sft", "general_sft")


def test_persona_is_trained_alone(located: Locate, make: Make) -> None:
    persona = located("persona", [make("persona", i) for i in range(3)])
    others = located("others", [make("text2sql", 0)])
    require_persona_alone(persona)
    require_persona_alone(others)
    with pytest.raises(
        DataError, match=r"others.jsonl:1: text2sql record beside persona records: persona is trained alone"
    ):
        require_persona_alone([*persona, *others])
    with pytest.raises(DataError, match=r"persona.jsonl:1: persona record beside other tasks"):
        require_persona_alone([*persona[:1], *others, *others])


def test_a_record_never_loses_its_database_silently(tmp_path: Path, located: Locate, make: Make) -> None:
    (tmp_path / "shop.sql").write_text("CREATE TABLE t (a INTEGER);")
    plain = {key: value for key, value in make("text2sql", 0).items() if key != "database"}
    items = located("sql", [plain | {"database": "shop"}, plain | {"id": "weak"}, make("general", 1)])
    lost = located("lost", [plain | {"database": "shop"}, plain | {"id": "lost", "database": "shpo"}])
    registry = TaskRegistry(DuckDBExecutor(str(tmp_path)))
    require_databases(items, registry)
    with pytest.raises(DataError, match=r"lost.jsonl:2: database 'shpo' is not among the databases"):
        require_databases(lost, registry)
    require_databases(lost, TaskRegistry())  # without an executor SQL is judged statically, by choice
