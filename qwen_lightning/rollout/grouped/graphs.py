"""One CUDA graph a decode step for each size of batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

_WARM_UP = 2  # runs before a capture: kernels are compiled and workspaces allocated in them


class StepGraphs:
    """Captures a step once for each batch size and replays it: one launch in place of a thousand.

    Args:
        step: Takes the rows of the batch and the temperature; reads and writes static buffers alone and waits for
            nothing.
    """

    def __init__(self, step: Callable[[int, float], None]) -> None:
        self.step = step
        self._graphs: dict[tuple[int, float], Any] = {}
        self._warmed: Counter[tuple[int, float]] = Counter()
        self._pool: Any = None

    def run(self, rows: int, temperature: float) -> None:
        """One step of a batch of `rows`."""
        key = rows, temperature
        if key in self._graphs:
            self._graphs[key].replay()
        elif self._warmed[key] < _WARM_UP:
            self._warmed[key] += 1
            self.step(rows, temperature)
        else:
            self._graphs[key] = self._capture(rows, temperature)  # which does not run it
            self._graphs[key].replay()

    def _capture(self, rows: int, temperature: float) -> Any:
        graph = torch.cuda.CUDAGraph()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()  # one for all: they never run at once
        # Other threads may go on with CUDA meanwhile, such as NCCL's, which looks after its own.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            self.step(rows, temperature)
        return graph
