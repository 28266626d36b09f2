"""What ArcadeDB lacks: gaps of the engine, never faults of a query."""

from __future__ import annotations

import re

# Errors that Neo4j raises too, for the same queries; any other error of a query that passed the analysis is a gap.
_SHARED = re.compile(
    r"by zero|(long|integer|arithmetic) overflow|cannot parse|requires? numeric (operands|input)|InvalidArgument|"
    r"Type mismatch|Expected parameter|negative length|NumberOutOfRange|Unknown truncation unit|"
    r"InvalidUnicodeLiteral|Text .* could not be parsed",
    re.IGNORECASE,
)


def is_gap(reason: str) -> bool:
    """Whether an error's message stands for something that ArcadeDB lacks."""
    return not _SHARED.search(reason)
