"""How often the brake cries wolf, and how soon it sees a real drop: a simulation of the ladder itself.

Histories are made up. In a history where nothing changes, a share of examples is undecided: baseline and evaluations
draw pass or fail for them by a fair coin, and from one evaluation to the next an undecided example keeps its outcome
with probability `--correlation`, otherwise draws anew. So evaluations differ from the baseline in the given share of
examples, agree with each other more than chance, and share the baseline's luck. In a history with a drop, examples
flip to worse or to better from the first evaluation on, as many as give the drop and the share of flips in expectation,
with the same correlation, on one line of six.

    python tools/simulate_brakes.py [--runs 1000] [--examples 300] [--correlation 0.5]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qwen_lightning.regression.ladder import Ladder
from qwen_lightning.regression.red_lines import Evaluation, RedLine

LINES, EVALUATIONS = 6, 20
Outcomes = NDArray[np.int8]


def unchanged(rng: np.random.Generator, examples: int, flips: float, correlation: float) -> Iterator[Outcomes]:
    """Baseline, then evaluations without end, (lines, examples) each, that differ by luck alone."""
    shape = (LINES, examples)
    undecided = rng.random(shape) < 2 * flips
    base = np.where(undecided, rng.random(shape) < 0.5, rng.random(shape) < 0.8)
    yield base.astype(np.int8)
    luck = rng.random(shape) < 0.5
    while True:
        yield np.where(undecided, luck, base).astype(np.int8)
        luck = np.where(rng.random(shape) < correlation, luck, rng.random(shape) < 0.5)


def dropped(
    rng: np.random.Generator, examples: int, flips: float, correlation: float, drop: float
) -> Iterator[Outcomes]:
    """The same, but the first line drops by `drop` at the first evaluation and stays there."""
    calm = unchanged(rng, examples, flips, correlation)
    worse, share = (flips + drop) / 2, 0.75

    def draw() -> NDArray[np.bool_]:
        chance = rng.random(examples)
        # Passing examples fail at one rate, failing ones pass at another, so that the shares come out over all.
        return np.where(passing, chance >= worse / share, chance < (flips - worse) / (1 - share))

    first = next(calm)
    passing = rng.random(examples) < share
    first[0] = passing
    yield first
    luck = draw()
    for evaluation in calm:
        evaluation[0] = luck
        yield evaluation
        luck = np.where(rng.random(examples) < correlation, luck, draw())


def as_evaluation(outcomes: Outcomes) -> Evaluation:
    """Metric to example to value, as the ladder reads it."""
    return {
        f"general/{line}": dict(zip(map(str, range(len(row))), row.tolist(), strict=True))
        for line, row in enumerate(outcomes)
    }


def escalates(ladder: Ladder, history: Iterator[Outcomes], evaluations: int, metric: str | None = None) -> bool:
    """Whether the ladder takes a step within some evaluations, over the given line where one is given."""
    baseline = as_evaluation(next(history))
    state = ladder.start(baseline)
    for step in range(1, evaluations + 1):
        decision = ladder.decide(state, baseline, as_evaluation(next(history)), step)
        if decision.actions:
            return metric in (None, decision.actions[0].metric)
        state = decision.state
    return False


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--correlation", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    ladder = Ladder([RedLine(f"general/{line}") for line in range(LINES)])
    print(f"{LINES} lines of {options.examples} examples, correlation {options.correlation}, {options.runs} runs")
    print(f"Nothing changes: share of runs of {EVALUATIONS} evaluations with an escalation")
    for flips in (0.05, 0.1, 0.2, 0.3):
        runs = [
            escalates(ladder, unchanged(rng, options.examples, flips, options.correlation), EVALUATIONS)
            for _ in range(options.runs)
        ]
        print(f"  {flips:4.0%} flip: {np.mean(runs):.3f}", flush=True)
    drops = (0.02, 0.05, 0.1, 0.15, 0.2)
    print("A drop: share of runs in which its line escalates within two evaluations")
    print("  flips  " + "".join(f"{drop:>8.0%}" for drop in drops))
    for flips in (0.06, 0.1, 0.2, 0.3):
        cells = []
        for drop in drops:
            if drop > flips:
                cells.append("      - ")
                continue
            runs = [
                escalates(ladder, dropped(rng, options.examples, flips, options.correlation, drop), 2, "general/0")
                for _ in range(options.runs)
            ]
            cells.append(f"{np.mean(runs):8.3f}")
        print(f"  {flips:5.0%}  " + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
