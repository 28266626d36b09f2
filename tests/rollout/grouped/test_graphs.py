"""When a step is run, captured and replayed. What a GPU captures is a list of calls here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from qwen_lightning.rollout.grouped.graphs import StepGraphs


@dataclass
class Recorded:
    """A call that was captured, and is made when it is replayed."""

    call: Callable[[], None]

    def replay(self) -> None:
        self.call()


def test_every_run_is_one_step_and_few_are_not_replayed() -> None:
    done: list[tuple[int, float]] = []
    captured: list[Recorded] = []

    def capture(step: Callable[[], None], pool: Any) -> Recorded:
        captured.append(Recorded(step))
        return captured[-1]

    graphs = StepGraphs(capture)
    asked = [(rows, temperature) for rows in (8, 4, 8, 2) for temperature in (1.0, 0.0) for _ in range(5)]
    for key in asked:
        graphs.run(partial(done.append, key), *key)
    assert done == asked  # each once, in order, whether run or replayed
    assert len(captured) == len(set(asked))
