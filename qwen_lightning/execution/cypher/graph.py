"""Graphs: the statements of a `.cypher` file, and a graph as plain nodes and relationships."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen_lightning.errors import DataError

_PIECE = re.compile(r"//[^\n]*|/\*.*?\*/|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`(?:``|[^`])*`|;", re.DOTALL)
_SCHEMA = re.compile(r"(CREATE|DROP)\s+(OR\s+REPLACE\s+)?(\w+\s+)?(CONSTRAINT|INDEX)\b", re.IGNORECASE)
_UNIQUE = re.compile(
    r"FOR\s*\(\s*(?P<variable>\w+)\s*:\s*`?(?P<label>\w+)`?\s*\)\s*REQUIRE\s*\(?\s*(?P=variable)\.`?(?P<key>\w+)`?\s*\)?"
    r"\s*IS\s+(UNIQUE|(NODE\s+)?KEY)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Node:
    """A node; values of properties are Python's own, or the engine's where Python has no such type."""

    labels: tuple[str, ...]
    properties: dict[str, Any]


@dataclass(slots=True)
class Relationship:
    """A relationship between two nodes, by their positions."""

    type: str
    start: int
    end: int
    properties: dict[str, Any]


@dataclass(slots=True)
class Graph:
    """A property graph.

    Args:
        nodes: Its nodes.
        relationships: Its relationships.
        unique: (label, property) whose values differ from node to node, by a constraint.
    """

    nodes: list[Node] = field(default_factory=list)
    relationships: list[Relationship] = field(default_factory=list)
    unique: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class GraphFile:
    """A `.cypher` file: the statements that make the graph, and what its constraints say."""

    path: Path
    statements: tuple[str, ...]
    unique: frozenset[tuple[str, str]]


def graph_path(folder: Path | None, name: str) -> Path | None:
    """The file of a graph in a databases folder."""
    if folder is None or Path(name).name != name:
        return None
    path = folder / f"{name}.cypher"
    return path if path.is_file() else None


def graph_names(folder: Path | None) -> list[str]:
    """The graphs in a databases folder."""
    files = folder.glob("*.cypher") if folder is not None else ()
    return sorted(path.stem for path in files if path.is_file())


def read_graph(folder: Path, name: str) -> GraphFile:
    """Read a graph's file. Constraints and indexes make no data: of them, uniqueness alone is kept.

    Raises:
        DataError: The folder holds none of that name, or the file is no text.
    """
    path = graph_path(folder, name)
    if path is None:
        raise DataError(f"graph {name!r} is not in {folder}; a databases folder holds {name}.cypher")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at byte {error.start}", path) from None
    statements, unique = [], set()
    for statement in split_statements(text):
        if _SCHEMA.match(statement):
            found = _UNIQUE.search(statement)
            if found is not None:
                unique.add((found["label"], found["key"]))
        elif statement.upper() not in (":BEGIN", ":COMMIT", "BEGIN", "COMMIT"):
            statements.append(statement)
    if not statements:
        raise DataError("holds no statement that makes a graph", path)
    return GraphFile(path, tuple(statements), frozenset(unique))


def split_statements(text: str) -> list[str]:
    """The statements of a script, without comments; `;` ends one, except in strings and names in backticks."""
    return [statement for piece in _pieces(text) if (statement := piece.strip())]


def _pieces(text: str) -> Iterator[str]:
    parts: list[str] = []
    position = 0
    for found in _PIECE.finditer(text):
        parts.append(text[position : found.start()])
        position = found.end()
        if found.group() == ";":
            yield "".join(parts)
            parts = []
        else:
            parts.append(" " if found.group().startswith("/") else found.group())
    yield "".join([*parts, text[position:]])
