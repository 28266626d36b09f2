"""The task mixture: how often each task is drawn in an epoch, exactly, and which of its records."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qwen_lightning.errors import ConfigError

Indices = NDArray[np.int64]

DEFAULT_RATIOS: dict[str, float] = {
    "intent_rewrite": 0.32,
    "slot_json": 0.25,
    "function_call": 0.20,
    "text2sql": 0.12,
    "text2cypher": 0.08,
    "general": 0.03,
}

ADVISED_RANGES: dict[str, tuple[float, float]] = {
    "intent_rewrite": (0.25, 0.40),
    "slot_json": (0.20, 0.30),
    "function_call": (0.15, 0.25),
    "text2sql": (0.10, 0.20),
    "text2cypher": (0.05, 0.15),
    "general": (0.01, 0.05),
}


def generator(*key: int | str) -> np.random.Generator:
    """A random generator that depends on the key alone; strings enter by their CRC-32."""
    return np.random.default_rng([zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key])


def apportion(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that sum to `total` and follow `shares`, by largest remainder (Hamilton's method).

    Args:
        shares: Name to weight, at least one positive; they need not sum to 1.
        total: How many to hand out. Equal remainders are served in the order of `shares`.
    """
    scale = total / math.fsum(shares.values())
    counts = {name: math.floor(share * scale + 1e-9) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: counts[name] - shares[name] * scale)
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def draw(size: int, quota: int, epoch: int, *key: int | str) -> Indices:
    """Which of `size` records an epoch uses to fill a quota, pass after pass, each pass in an order of its own.

    Every record comes floor or ceil of `quota / size` times. The part that is no whole pass moves on with the epoch
    through one fixed order, so that over the epochs, too, no record falls behind another by more than one.
    """
    passes, rest = divmod(quota, size)
    rng = generator(*key, "epoch", epoch)
    parts = [rng.permutation(size) for _ in range(passes)]
    if rest:
        fixed = generator(*key, "remainder").permutation(size)
        parts.append(rng.permutation(fixed[(epoch * rest + np.arange(rest)) % size]))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


class Mixture:
    """Draws an epoch's examples by task ratio.

    Args:
        tasks: The task of each record.
        ratios: Task to share of the examples; any positive numbers, which are scaled to sum to 1. The default is
            `DEFAULT_RATIOS`, or the task alone where all records are persona. Shares of tasks that have no records
            go to the others in proportion.
        epoch_size: Examples an epoch; by default as many as there are records. Small sets repeat, large ones take
            turns over the epochs.
        seed: Seed of every draw.

    Attributes:
        counts: Examples an epoch, by task.
        shares: `counts` over the epoch size.
        warnings: What a user should hear about: shares that moved, or that lie outside the advised ranges.

    Raises:
        ConfigError: No records, a task without a ratio, a ratio that is no share, or an epoch size below 1.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        ratios: Mapping[str, float] | None = None,
        epoch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        if not tasks:
            raise ConfigError("there are no records to train on")
        if epoch_size is not None and epoch_size < 1:
            raise ConfigError(f"epoch_size is {epoch_size}; it must be at least 1")
        names = np.asarray(tasks)
        self._members: dict[str, Indices] = {name: np.flatnonzero(names == name) for name in dict.fromkeys(tasks)}
        self.seed = seed
        self.size = len(tasks) if epoch_size is None else epoch_size
        alone = set(self._members) == {"persona"}
        wanted = dict(ratios if ratios is not None else {"persona": 1.0} if alone else DEFAULT_RATIOS)
        self._check(wanted)
        present = {name: wanted[name] for name in wanted if name in self._members}
        if math.fsum(present.values()) == 0:
            raise ConfigError(f"the ratios of all tasks that have records ({', '.join(self._members)}) are 0")
        self.counts = apportion(present, self.size)
        self.shares = {name: count / self.size for name, count in self.counts.items()}
        self.warnings = [] if alone else list(self._remarks(wanted))

    def epoch(self, epoch: int) -> Indices:
        """Positions in `tasks` of the examples of an epoch, shuffled. Shape (size,)."""
        parts = [
            self._members[name][draw(len(self._members[name]), count, epoch, self.seed, name)]
            for name, count in self.counts.items()
            if count
        ]
        return generator(self.seed, "order", epoch).permutation(np.concatenate(parts))

    def _check(self, wanted: Mapping[str, float]) -> None:
        for name, ratio in wanted.items():
            if not (ratio >= 0 and math.isfinite(ratio)):
                raise ConfigError(f"ratio of {name} is {ratio}; a ratio is a number from 0")
        for name, members in self._members.items():
            if name not in wanted:
                raise ConfigError(
                    f"task {name} has {len(members)} records and no ratio; give it one under ratios (0 leaves it out)"
                )

    def _remarks(self, wanted: Mapping[str, float]) -> Iterable[str]:
        absent = [name for name, ratio in wanted.items() if ratio > 0 and name not in self._members]
        shares = ", ".join(f"{name} {share:.3f}" for name, share in self.shares.items())
        if absent:
            yield f"no records for {', '.join(absent)}; the ratios of the other tasks share theirs: {shares}"
        unused = [name for name in self._members if not self.counts[name]]
        if unused:
            yield f"an epoch of {self.size} examples takes none of {', '.join(unused)}; raise its ratio or epoch_size"
        total = math.fsum(wanted.values())
        outside = [
            f"{name} {wanted.get(name, 0) / total:.3f} (advised {low:.2f} to {high:.2f})"
            for name, (low, high) in ADVISED_RANGES.items()
            if not low - 1e-9 <= wanted.get(name, 0) / total <= high + 1e-9
        ]
        if outside:
            yield f"task ratios outside the advised range: {'; '.join(outside)}"
