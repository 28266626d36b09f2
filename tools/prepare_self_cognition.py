"""Self-cognition to persona records: `self_cognition.jsonl` of {query, response, tag}, with {{NAME}} and {{AUTHOR}}.

Name and author are filled in, and each record's history begins with the system turn that describes the persona.

`--input` may also be the name of a data set on the hub with these columns, such as modelscope/self-cognition.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path
from typing import Any

from converting import read_rows, run, summary, write_records

from qwen_lightning.errors import DataError

META = {"source": "modelscope/ms-swift, self-cognition", "licence": "Apache-2.0"}
ROW_FILE = "self_cognition.jsonl"
SYSTEM = {"en": "You are {{NAME}}, an assistant made by {{AUTHOR}}.", "zh": "你是{{NAME}}，由{{AUTHOR}}开发的助手。"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The persona's name and author."""
    parser.add_argument("--name", default="Lightning", help="what the persona is called (default: %(default)s)")
    parser.add_argument("--author", default="Qwen Lightning", help="who made it (default: %(default)s)")
    parser.add_argument("--name-zh", help="its name in Chinese; as --name unless given")
    parser.add_argument("--author-zh", help="its author in Chinese; as --author unless given")
    parser.add_argument(
        "--system", help="system turn in place of the built-in ones; it may hold {{NAME}} and {{AUTHOR}}"
    )


def filled(text: str, values: dict[str, str]) -> str:
    """The text with its placeholders filled.

    Raises:
        ValueError: It has one that is unknown.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise ValueError(f"unknown placeholder {found[0]}; known are {', '.join(values)}")
        return values[found[1]]

    return re.sub(r"\{\{\s*(\w+)\s*\}\}", value, text).strip()


def convert(
    source: Path,
    output: Path,
    name: str,
    author: str,
    name_zh: str | None = None,
    author_zh: str | None = None,
    system: str | None = None,
) -> str:
    """Write records; returns a summary.

    Raises:
        DataError: The file is missing, lacks a field, or has an unknown language or placeholder.
    """
    values = {
        "en": {"NAME": name, "AUTHOR": author},
        "zh": {"NAME": name_zh or name, "AUTHOR": author_zh or author},
    }
    path = source / ROW_FILE
    left_out: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    records: list[dict[str, Any]] = []
    for line, row in read_rows(path, {"query": str, "response": str, "tag": str}):
        language = row["tag"]
        if language not in values:
            raise DataError(f"tag {language!r} is neither en nor zh", path, line)
        try:
            query, response, description = (
                filled(text, values[language]) for text in (row["query"], row["response"], system or SYSTEM[language])
            )
        except ValueError as error:
            raise DataError(str(error), path, line) from None
        if (query, response) in seen:
            left_out["that stand twice"] += 1
            continue
        seen.add((query, response))
        records.append(
            {
                "id": f"self-cognition-{line:03d}",
                "task": "persona",
                "history": [{"role": "system", "content": description}],
                "input": query,
                "gold": response,
                "meta": {**META, "language": language},
            }
        )
    return summary(output, write_records(output, records), left_out)


if __name__ == "__main__":
    run(__doc__ or "", convert, ROW_FILE, add_arguments)
