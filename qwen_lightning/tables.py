"""Plain tables for the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table with the first `left` columns to the left and the others to the right."""
    widths = [max(_width(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = [[_pad(line[i], widths[i], i < left) for i in range(len(widths))] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _pad(text: str, width: int, to_left: bool) -> str:
    spaces = " " * (width - _width(text))
    return text + spaces if to_left else spaces + text
