"""Score rows: what one example scored, and the metric names that reports, lines and TensorBoard share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen_lightning.errors import DataError
from qwen_lightning.records import scan_jsonl

_REQUIRED = ("id", "task", "reward", "checks", "detail")
_OPTIONAL = ("ability", "nll", "completion")


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One line of a scores file.

    Args:
        id: The record's.
        task: Its task.
        reward: None where it has none.
        checks: Check name to a value in [0, 1].
        detail: Why a check failed.
        ability: Of a general record.
        nll: Mean negative log-likelihood of the gold's tokens, in nats.
        completion: The judged text.

    Raises:
        ValueError: A check outside [0, 1], or a reward or likelihood that is not finite.
    """

    id: str
    task: str
    reward: float | None
    checks: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""
    ability: str | None = None
    nll: float | None = None
    completion: str | None = None

    def __post_init__(self) -> None:
        for name, value in self.checks.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{self.task} {self.id!r}: check {name} is {value}, outside [0, 1]")
        for name, number in (("reward", self.reward), ("nll", self.nll)):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{self.task} {self.id!r}: {name} is {number}")

    def metrics(self) -> dict[str, float]:
        """Metric name to this row's value: `task/check`, `task/reward` and `task/nll`, where each is there.

        A general row counts in `general/all` and in `general/<ability>`, both by its check `all`.
        """
        if self.task == "general":
            values = {name: self.checks["all"] for name in ("all", self.ability) if name and "all" in self.checks}
        else:
            values = dict(self.checks)
        extra = {"reward": self.reward, "nll": self.nll}
        values |= {name: value for name, value in extra.items() if value is not None}
        return {f"{self.task}/{name}": value for name, value in values.items()}

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON, without the optional fields it lacks."""
        values = {name: getattr(self, name) for name in (*_REQUIRED, *_OPTIONAL)}
        values["checks"] = dict(self.checks)
        return {name: value for name, value in values.items() if name in _REQUIRED or value is not None}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ScoreRow:
        """The inverse of `to_dict`.

        Raises:
            ValueError: A field is missing, unknown or of another type.
        """
        if missing := [name for name in _REQUIRED if name not in value]:
            raise ValueError(f"score row has no {missing[0]}")
        if unknown := [name for name in value if name not in (*_REQUIRED, *_OPTIONAL)]:
            raise ValueError(f"score row has the unknown field {unknown[0]}")
        for name in ("id", "task", "detail", "ability", "completion"):
            given = value.get(name)
            if not (isinstance(given, str) or (name in _OPTIONAL and given is None)):
                raise ValueError(f"score row: {name} is no string")
        checks = value["checks"]
        if not isinstance(checks, Mapping):
            raise ValueError("score row: checks is no object")
        for name, number in [*checks.items(), ("reward", value["reward"]), ("nll", value.get("nll"))]:
            numeric = isinstance(number, int | float) and not isinstance(number, bool)
            if not numeric and not (number is None and name not in checks):
                raise ValueError(f"score row: {name} is {number!r}, not a number")
        return cls(**value)


def read_rows(path: str | Path) -> list[ScoreRow]:
    """Read a scores file.

    Raises:
        DataError: A line that is no score row.
    """
    rows = []
    for line, value in scan_jsonl(path):
        if isinstance(value, DataError):
            raise value
        if not isinstance(value, Mapping):
            raise DataError("a score row is a JSON object", path, line)
        try:
            rows.append(ScoreRow.from_dict(value))
        except ValueError as error:
            raise DataError(str(error), path, line) from None
    return rows


def write_rows(path: str | Path, rows: Iterable[ScoreRow]) -> None:
    """Write a scores file, a JSON object a line."""
    lines = (json.dumps(row.to_dict(), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    with open(path, "w", encoding="utf-8") as handle:
        handle.writelines(lines)


def by_metric(rows: Iterable[ScoreRow]) -> dict[str, dict[str, float]]:
    """Metric name to example id to value. An id that comes again in a metric is `id#2`, `id#3`, in order."""
    metrics: dict[str, dict[str, float]] = {}
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        for name, value in row.metrics().items():
            count = seen[name, row.id] = seen.get((name, row.id), 0) + 1
            metrics.setdefault(name, {})[row.id if count == 1 else f"{row.id}#{count}"] = value
    return metrics


def summarize(rows: Iterable[ScoreRow]) -> dict[str, float]:
    """Metric name to its mean over the rows that have it."""
    return {name: math.fsum(values.values()) / len(values) for name, values in by_metric(rows).items()}
