"""Query cases kept as text: a comment line that names the case, and the query under it."""

from __future__ import annotations

from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "fixtures" / "cypher"


def library_schema() -> str:
    """The schema text of the library graph."""
    return (FIXTURES / "graphs" / "library.schema.txt").read_text()


def cases(name: str) -> list[tuple[str, str]]:
    """Each case of a file as (name, query)."""
    found: list[tuple[str, list[str]]] = []
    for line in (FIXTURES / name).read_text().splitlines():
        if line.startswith("// "):
            found.append((line[3:], []))
        elif found:
            found[-1][1].append(line)
    return [(title, "\n".join(lines).strip()) for title, lines in found if "".join(lines).strip()]
