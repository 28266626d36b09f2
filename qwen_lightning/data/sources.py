"""Buckets: the record files that feed a stage, and which tasks may stand in them."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from pathlib import Path

from qwen_lightning.errors import ConfigError, DataError
from qwen_lightning.records import Located, RecordReader
from qwen_lightning.tasks.registry import TaskRegistry

Paths = list[str] | str | None


def files_in(paths: Paths, setting: str) -> list[Path]:
    """The record files of a setting: files as given, of a folder its `*.jsonl` by name.

    Raises:
        ConfigError: A path that does not exist, a folder without record files, or a file that is named twice.
    """
    files: list[Path] = []
    for entry in [paths] if isinstance(paths, str) else paths or []:
        path = Path(entry)
        if path.is_dir():
            found = sorted(path.glob("*.jsonl"))
            if not found:
                raise ConfigError(f"{setting}: folder {path} holds no *.jsonl file")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise ConfigError(f"{setting}: {path} does not exist; give record files or a folder of them")
    seen: set[Path] = set()
    for path in files:
        if path.resolve() in seen:
            raise ConfigError(f"{setting}: {path} is named twice; its records would count double")
        seen.add(path.resolve())
    return files


def read_records(reader: RecordReader, files: Iterable[Path]) -> list[Located]:
    """All records of some files, in order.

    Raises:
        DataError: The first line that is no record.
    """
    # Nothing that is read becomes garbage, and looking for it took two thirds of the time (100,000 records).
    enabled = gc.isenabled()
    gc.disable()
    try:
        return reader.read_many(files)
    finally:
        if enabled:
            gc.enable()


def require_general(items: Iterable[Located], setting: str) -> None:
    """Refuse task records in a bucket of general ones.

    Raises:
        DataError: A record of another task.
    """
    for item in items:
        if item.record.task != "general":
            raise DataError(
                f"{setting} takes general records only, this one is {item.record.task}", item.file, item.line
            )


def require_tasks(items: Iterable[Located], setting: str, instead: str) -> None:
    """Refuse general records in a bucket of task records.

    Raises:
        DataError: A general record; the message names the setting where it belongs.
    """
    for item in items:
        if item.record.task == "general":
            raise DataError(
                f"a general record does not belong in {setting}; move it to {instead}", item.file, item.line
            )


def require_databases(items: Iterable[Located], tasks: TaskRegistry) -> None:
    """Refuse records whose database is not there: they would be judged without it, and nobody would know.

    Raises:
        DataError: The first such record; one whose task has no executor is none.
    """
    there: dict[tuple[str, str], bool] = {}
    for item in items:
        name, executor = getattr(item.record, "database", None), getattr(tasks[item.record.task], "executor", None)
        if name is None or executor is None:
            continue
        key = (item.record.task, name)
        if key not in there:
            there[key] = executor.has_database(name)
        if not there[key]:
            raise DataError(
                f"database {name!r} is not among the databases of the config's tasks; put it there, "
                "or leave the field out to judge this record without one",
                item.file,
                item.line,
            )


def require_persona_alone(items: Sequence[Located]) -> None:
    """Refuse persona records beside any other: the persona has an adapter of its own.

    Raises:
        DataError: The first record that is of the smaller side's kind.
    """
    persona = [item for item in items if item.record.task == "persona"]
    others = [item for item in items if item.record.task != "persona"]
    if persona and others:
        odd = min(persona, others, key=len)[0]
        raise DataError(
            f"{odd.record.task} record beside {'other tasks' if odd.record.task == 'persona' else 'persona records'}: "
            f"persona is trained alone, in a stage of its own ({len(persona)} persona records, {len(others)} others)",
            odd.file,
            odd.line,
        )
