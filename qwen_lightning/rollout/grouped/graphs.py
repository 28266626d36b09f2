"""One CUDA graph a decode step for each size of batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import torch

_WARM_UP = 2  # runs before a capture: kernels are compiled and workspaces allocated in them


class Replayable(Protocol):
    """A captured step."""

    def replay(self) -> None: ...


class StepGraphs:
    """Captures a step once for each batch size and temperature, and replays it: one launch in place of a thousand.

    It holds no step, which would hold it: what is captured goes when this object does.

    Args:
        capture: Captures a call without running it, in a memory pool.
    """

    def __init__(self, capture: Callable[[Callable[[], None], Any], Replayable] | None = None) -> None:
        self._capture = capture or capture_on_gpu
        self._graphs: dict[tuple[int, float], Replayable] = {}
        self._warmed: Counter[tuple[int, float]] = Counter()
        self._pool: Any = None

    def run(self, step: Callable[[], None], rows: int, temperature: float) -> None:
        """Run a step, which reads and writes static buffers alone, waits for nothing, and is the same for a key."""
        key = rows, temperature
        if key in self._graphs:
            self._graphs[key].replay()
        elif self._warmed[key] < _WARM_UP:
            self._warmed[key] += 1
            step()
        else:
            if self._pool is None and torch.cuda.is_available():
                self._pool = torch.cuda.graph_pool_handle()  # one for all: they never run at once
            self._graphs[key] = self._capture(step, self._pool)
            self._graphs[key].replay()


def capture_on_gpu(step: Callable[[], None], pool: Any) -> Replayable:
    """Capture a call as a CUDA graph, which does not run it."""
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on with CUDA meanwhile, such as NCCL's, which looks after its own.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        step()
    return graph
