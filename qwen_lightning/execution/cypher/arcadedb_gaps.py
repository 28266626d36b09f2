"""What ArcadeDB lacks or does otherwise than Neo4j: gaps of the engine, never faults of a query."""

from __future__ import annotations

import re

from qwen_lightning.execution.cypher.analysis import Analysis

# Errors that Neo4j raises too, for the same queries; any other error of a query that passed the analysis is a gap.
_SHARED = re.compile(
    r"would produce \d+ elements|by zero",
    re.IGNORECASE,
)


def is_gap(kinds: str, reason: str) -> bool:
    """Whether an error stands for something that ArcadeDB lacks.

    Args:
        kinds: The Java classes of the exception and its causes.
        reason: What it says.
    """
    return not _SHARED.search(reason)


def differs_silently(query: str, analysis: Analysis) -> str:
    """Why ArcadeDB would answer this query otherwise than Neo4j; empty where it would not."""
    return ""
