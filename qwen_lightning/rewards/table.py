"""The reward table: named weights that turn a verdict into one number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qwen_lightning.errors import ConfigError
from qwen_lightning.records import RecordBase
from qwen_lightning.tasks.base import Task, VerifiedTask
from qwen_lightning.verdict import Verdict

#: Task to set to check to weight. A task with one set uses it for all records.
DEFAULT_WEIGHTS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "function_call": {
        "strong": {"json": 1.0, "schema": 1.0, "required": 1.0, "types": 1.0, "match": 2.0, "no_extra_text": -1.0},
    },
    "slot_json": {"strong": {"json": 1.0, "schema": 1.0, "f1": 2.0, "grounded": -1.0}},
    "text2sql": {
        "strong": {"executes": 1.0, "match": 2.0, "references": -2.0},
        "weak": {"executes": 1.0, "references": 1.0, "dialect": 1.0},
    },
    "text2cypher": {"strong": {"parses": 1.0, "executes": 1.0, "match": 2.0, "references": -2.0}},
    "intent_rewrite": {"strong": {"exact": 1.0, "overlap": 1.0}},
}
SETS = ("strong", "weak")
UNREWARDED = ("general", "persona")


class RewardTable:
    """Weights a task and check, and the reward they give a verdict.

    `reward = Σ over w > 0 of w·c + Σ over w < 0 of |w|·(c - 1)`: a bonus for a check that holds, a malus for one that
    fails. Checks that are absent add nothing. `strong` weights judge records with gold (and, where the record type
    has one, a database), `weak` weights the others; a task without a weak set uses `strong` for all.

    Args:
        weights: Laid over the defaults, check by check: `{task: {strong: {check: weight}, weak: {check: weight}}}`,
            or `{task: {check: weight}}` for a task with one set. Weight 0 takes a check out.

    Raises:
        ConfigError: The weights have another shape, are not finite, or are for a task that has no reward.
    """

    def __init__(self, weights: dict[str, dict[str, float | dict[str, float]]] | None = None) -> None:
        self._overridden = tuple(weights or ())
        self.weights: dict[str, dict[str, dict[str, float]]] = {
            task: {name: dict(values) for name, values in sets.items()} for task, sets in DEFAULT_WEIGHTS.items()
        }
        for task, override in (weights or {}).items():
            if task in UNREWARDED:
                raise ConfigError(f"rewards.weights.{task}: {task} completions have no reward; take the entry out")
            merged = self.weights.setdefault(task, {})
            for name, values in _sets(task, override, named="weak" in merged).items():
                merged.setdefault(name, {}).update(values)

    def weights_of(self, record: RecordBase) -> Mapping[str, float]:
        """Check to weight for one record; empty where its task has no reward."""
        sets = self.weights.get(record.task, {})
        return sets["weak"] if "weak" in sets and not _is_strong(record) else sets.get("strong", {})

    def reward(self, record: RecordBase, verdict: Verdict) -> float | None:
        """The reward of one verdict.

        Returns:
            None where the task has no weights, no weighted check was made, or an engine gap dropped one: such
            a completion has advantage 0 and is in no group statistic.
        """
        weights = {name: weight for name, weight in self.weights_of(record).items() if weight}
        if not weights or not verdict.gaps.isdisjoint(weights):
            return None
        made = [(weight, verdict.checks[name]) for name, weight in weights.items() if name in verdict.checks]
        if not made:
            return None
        return math.fsum(weight * value if weight > 0 else -weight * (value - 1.0) for weight, value in made)

    def check(self, tasks: Mapping[str, Task[Any]]) -> None:
        """Refuse weights that these tasks cannot use, or by which a wrong answer could score above a right one.

        Every weight moves the reward by at most |w|. A right answer has the deciding check at 1, and with it the
        implied ones; each other check may still fail it, and hold for a wrong answer. So |w| of the deciding check must
        be at least the sum of |w| over the checks that it does not imply. Where the deciding check is graded, a wrong
        answer can come as close to 1 as it likes, and that sum must be 0. Weak weights judge answers of which nobody
        knows which is right, and are free.

        Raises:
            ConfigError: What is wrong, where, and what to change.
        """
        for name, sets in self.weights.items():
            task = tasks.get(name)
            if name in self._overridden:
                if task is None:
                    raise ConfigError(f"rewards.weights.{name}: unknown task; the tasks are {', '.join(tasks)}")
                if not isinstance(task, VerifiedTask):
                    raise ConfigError(
                        f"rewards.weights.{name}: the task verifies nothing that a weight could be given for"
                    )
            if isinstance(task, VerifiedTask):
                for which, weights in sets.items():
                    _check_set(f"rewards.weights.{name}.{which}", weights, task, ranked=which == "strong")


def _is_strong(record: RecordBase) -> bool:
    return record.gold is not None and getattr(record, "database", record) is not None


def _sets(task: str, override: Any, named: bool) -> dict[str, dict[str, float]]:
    """An override as named sets of finite weights."""
    place = f"rewards.weights.{task}"
    if not isinstance(override, Mapping):
        raise ConfigError(f"{place} must be a mapping of check to weight, not {override!r}")
    if not any(isinstance(value, Mapping) for value in override.values()):
        if named and override:
            raise ConfigError(f"{place} has two sets of weights; say which: {place}.strong or {place}.weak")
        return {"strong": {name: _weight(f"{place}.{name}", value) for name, value in override.items()}}
    for name, values in override.items():
        if name not in SETS or not isinstance(values, Mapping):
            raise ConfigError(f"{place}.{name}: expected strong and weak, each a mapping of check to weight")
    return {
        which: {name: _weight(f"{place}.{which}.{name}", value) for name, value in values.items()}
        for which, values in override.items()
    }


def _weight(place: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{place} is {value!r}; a weight is a finite number")
    return float(value)


def _check_set(place: str, weights: Mapping[str, float], task: VerifiedTask[Any], ranked: bool) -> None:
    for check in weights:
        if check not in task.checks:
            raise ConfigError(f"{place}.{check}: {task.name} has no such check; it has {', '.join(task.checks)}")
    decides = task.decides
    if not ranked or decides is None:
        return
    others = {name: abs(w) for name, w in weights.items() if w and name != decides and name not in task.implied}
    total, deciding = math.fsum(others.values()), abs(weights.get(decides, 0.0))
    listed = " + ".join(f"{name} {weight:g}" for name, weight in others.items())
    if decides in task.graded and total > 0:
        raise ConfigError(
            f"{place}: a wrong answer could score above a right one: {decides} is graded, so a nearly right answer "
            f"gains almost all of it, while a right one may fail {listed}; set these to 0"
        )
    if total > deciding + 1e-9:
        raise ConfigError(
            f"{place}: a wrong answer could score above a right one: {decides} weighs {deciding:g}, but a right answer "
            f"may fail checks that weigh more together ({listed} = {total:g}); "
            f"raise {decides} to {total:g} or more, or lower the others"
        )
