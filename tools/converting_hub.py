"""Rows of a data set on the hub, or of a local copy of one, as the row file that a converter reads."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qwen_lightning.errors import DataError

HUB_NAME = re.compile(r"(?P<path>[\w.-]+/[\w.-]+)(?::(?P<first>[\w.-]+))?(?::(?P<second>[\w.-]+))?")


@contextmanager
def row_folder(source: str, row_file: str) -> Iterator[Path]:
    """The folder itself where it is as published, else a passing one with `row_file`, written through `datasets`.

    Args:
        source: A folder, or `org/name[:config][:split]`.
        row_file: Name of the file; `{config}` in it stands for the configuration's name.

    Raises:
        DataError: There is no such data set, or it has several configurations or splits and none is named. A fault
            that is found in the rows names `source` in place of the file.
    """
    folder = Path(source)
    pattern = row_file.replace("{config}", "*")
    if folder.is_dir() and (any(folder.glob(pattern)) or not any(folder.rglob("*.parquet"))):
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        config, rows = _load(source)
        path = Path(name) / row_file.replace("{config}", config or "default")
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        try:
            yield Path(name)
        except DataError as error:
            inside = error.file is not None and Path(name) in Path(error.file).parents
            raise DataError(error.message, source if inside else error.file, error.line) from None


def _load(source: str) -> tuple[str | None, Any]:
    """Configuration and rows of a data set."""
    # Heavy, and needed for the hub alone.
    import datasets
    from datasets.exceptions import DatasetsError

    parts = HUB_NAME.fullmatch(source)
    path = source if parts is None or Path(source).is_dir() else parts["path"]
    config, split = None, None
    if parts is not None and path != source:
        config, split = (parts["first"], parts["second"]) if parts["second"] else (None, parts["first"])
    try:
        loaded = datasets.load_dataset(path, config, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"is no folder with the data set, and loads from no hub: {reason}", source) from None
    if isinstance(loaded, datasets.DatasetDict):
        if len(loaded) > 1:
            raise DataError(f"has the splits {', '.join(loaded)}; name one: {path}:{next(iter(loaded))}", source)
        (loaded,) = loaded.values()
    return config, loaded
