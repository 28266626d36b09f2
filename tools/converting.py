"""What the converters of data sets share."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from qwen_lightning.errors import DataError, QwenLightningError
from qwen_lightning.records import scan_jsonl


def run(description: str, convert: Callable[[Path, Path], str]) -> None:
    """Parse `--input` and `--output`, convert, print a summary; a fault is one line on standard error, exit code 2."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--input", type=Path, required=True, help="folder with the data set as it was published")
    parser.add_argument("--output", type=Path, required=True, help="folder for records.jsonl (and databases/)")
    arguments = parser.parse_args()
    try:
        if not arguments.input.is_dir():
            raise DataError("is no folder; give the folder that holds the data set", arguments.input)
        print(convert(arguments.input, arguments.output))
    except QwenLightningError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def read_rows(path: Path, fields: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield `(line, object)` of a JSONL file.

    Raises:
        DataError: A line is no JSON object or lacks one of the fields.
    """
    for line, value in scan_jsonl(path):
        if isinstance(value, DataError):
            raise value
        if not isinstance(value, dict):
            raise DataError("is no JSON object", path, line)
        for field in fields:
            if field not in value:
                raise DataError(f"has no {field}", path, line)
        yield line, value


def write_records(output: Path, records: Iterable[dict[str, Any]]) -> int:
    """Write `records.jsonl` and return how many records it holds.

    Raises:
        DataError: Two records share an id.
    """
    output.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    path = output / "records.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            if record["id"] in seen:
                raise DataError(f"two records have the id {record['id']!r}", path)
            seen.add(record["id"])
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return len(seen)


def fresh_folder(path: Path) -> Path:
    """An empty folder, whatever stood there before."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path
