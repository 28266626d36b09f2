"""Verdict: what a task's verifier says about one completion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Verdict:
    """Named checks of one completion.

    Args:
        checks: Check name to a value in [0, 1]. A check that could not be made is absent, never 0.
        detail: One line that says why a check failed.
        gaps: Names of the checks that are absent because the *engine* lacks something the query needs.
            A completion with a gap in a weighted check has no reward.
    """

    checks: Mapping[str, float]
    detail: str = ""
    gaps: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for name, value in self.checks.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"check {name!r} is {value}, outside [0, 1]")
        if both := self.gaps & self.checks.keys():
            raise ValueError(f"checks both made and absent by a gap: {sorted(both)}")
