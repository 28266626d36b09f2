"""What a soak found, and whether it is good enough."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tools.soak.load import FAULTS, KINDS, Tally
from tools.soak.throughput import Throughput

GROWTH = 16.0  # MiB that the last quarter's memory may be above the second's
IDLE = 1.0  # seconds until every place is free
TIES = 0.01  # of the answers, and one of few, that may part from the one given alone at a near tie
RATIO = 0.7  # of mixed adapters' tokens a second to one adapter's


@dataclass(frozen=True)
class Condition:
    """Something that must hold.

    Args:
        name: Short.
        held: Whether it does.
        text: What was found, and what is asked.
    """

    name: str
    held: bool
    text: str


@dataclass(frozen=True)
class Findings:
    """What a soak found.

    Args:
        clients: At once.
        seconds: The load took.
        tally: What came of the requests.
        memory: The server's resident MiB through the load; empty where it was not watched.
        idle: Seconds from the load's end until nothing was held any more.
        metrics: The server's own, after the load.
        speed: One adapter and all of them.
        asked: Models that the questions went to.
        models: Those that there are.
    """

    clients: int
    seconds: float
    tally: Tally
    memory: Sequence[float]
    idle: float
    metrics: dict[str, float]
    speed: Throughput
    asked: frozenset[str]
    models: frozenset[str]

    def conditions(self) -> list[Condition]:
        """What must hold, and whether it does."""
        counts, failed = self.tally.counts, self.metrics["failed_steps_total"]
        errors = self.metrics.get("completions_total:error", 0)
        kinds = {kind: counts[kind] for kind in KINDS}
        ties, right = counts["near tie"], counts["whole"] + counts["stream"]
        missing = ", ".join(sorted(self.models - self.asked)) or "none"
        found = [Condition(kind, counts[kind] == 0, f"{kind}: {counts[kind]}") for kind in FAULTS]
        found += [
            Condition("kinds", all(kinds.values()), f"every kind of client was there: {kinds}"),
            Condition(
                "ties", ties <= max(1, TIES * right), f"near ties: {ties} of {right} answers (at most {TIES:.0%})"
            ),
            Condition("models", self.asked == self.models, f"models that were not asked: {missing}"),
            Condition("engine", not failed and not errors, f"steps that failed: {failed:g}; completions: {errors:g}"),
            Condition("idle", self.idle <= IDLE, f"idle {self.idle:.2f} s after the load (at most {IDLE:g})"),
            Condition(
                "throughput",
                self.speed.ratio >= RATIO,
                f"mixed adapters {self.speed.ratio:.1%} of one (at least {RATIO:.0%})",
            ),
        ]
        if self.memory:
            first, last = self._quarters()
            grew = last - first
            found.append(Condition("memory", grew <= GROWTH, f"memory grew by {grew:.1f} MiB (at most {GROWTH:g})"))
        return found

    def print(self) -> None:
        """Tell it."""
        tally, counts = self.tally, self.tally.counts
        right = counts["whole"] + counts["stream"]
        print(
            f"{self.clients} clients, {self.seconds:.0f} s: {right} answers ({right / self.seconds:.1f}/s; "
            f"{counts['stream']} streamed), the ones given alone but for {counts['near tie']} near ties; "
            f"{counts['bears its marker']} bear words of the user's; {counts['refused']} refusals, {counts['gone']} "
            f"clients that went, {counts['malformed']} malformed requests"
        )
        print("by adapter: " + ", ".join(f"{name} {tally.adapters[name]}" for name in sorted(tally.adapters)))
        if tally.seconds:
            ordered = sorted(tally.seconds)
            told = (f"{share} % {ordered[int(share / 100 * (len(ordered) - 1))]:.2f} s" for share in (50, 95, 100))
            print(f"until the whole answer, waits after 429 included: {', '.join(told)}")
            print(f"largest difference of a log-prob: {tally.largest:.1e}")
        if self.memory:
            first, last = self._quarters()
            print(f"memory, MiB: second quarter {first:.0f}, last {last:.0f}, at most {max(self.memory):.0f}")
        else:
            print("memory: not watched; name the process with --pid")
        for name, side in (("one adapter", self.speed.one), ("mixed", self.speed.mixed)):
            cpu = f", {side.tokens / side.cpu:.0f} a second of the server's processor time" if side.cpu else ""
            print(f"{name}: {side.tokens} new tokens, {side.speed:.0f} a second{cpu}")
        for fault in tally.faults:
            print(f"  {fault}")
        for condition in self.conditions():
            print(f"{'holds' if condition.held else 'FAILS'}  {condition.text}")

    def write(self, path: Path) -> None:
        """As JSON."""
        found = {
            "clients": self.clients,
            "seconds": self.seconds,
            "counts": dict(self.tally.counts),
            "faults": self.tally.faults,
            "adapters": dict(self.tally.adapters),
            "memory_mib": list(self.memory),
            "idle_seconds": self.idle,
            "throughput": {"one": asdict(self.speed.one), "mixed": asdict(self.speed.mixed)},
            "metrics": self.metrics,
            "conditions": {condition.name: condition.held for condition in self.conditions()},
        }
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")

    def _quarters(self) -> tuple[float, float]:
        """Medians of the load's second and last quarter; in the first, buffers come to their sizes."""
        quarter = max(1, len(self.memory) // 4)
        return median(self.memory[quarter : 2 * quarter] or self.memory), median(self.memory[-quarter:])
