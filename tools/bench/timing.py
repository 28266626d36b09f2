"""The clock: warm-up, repeated runs on an idle device, peak memory, and what the device can do at best."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True, slots=True)
class Lap:
    """Seconds by the clock, and seconds that the process computed: on a CPU that others use, too, the steadier ones."""

    clock: float = 0.0
    computed: float = 0.0

    def __add__(self, other: Lap) -> Lap:
        return Lap(self.clock + other.clock, self.computed + other.computed)

    def __sub__(self, other: Lap) -> Lap:
        return Lap(self.clock - other.clock, self.computed - other.computed)


@dataclass(slots=True)
class Timing:
    """Each timed run, and the most memory that tensors took on a CUDA device, in bytes."""

    laps: list[Lap] = field(default_factory=list)
    peak: int | None = None


def median(laps: Sequence[Lap]) -> Lap:
    """Of the clock's seconds and of the computed ones, each for itself."""
    return Lap(statistics.median(lap.clock for lap in laps), statistics.median(lap.computed for lap in laps))


def measure(work: Callable[[], object], device: torch.device, warmup: int, runs: int) -> Timing:
    """Time `runs` calls of `work` after `warmup` others."""
    for _ in range(warmup):
        work()
    timing = Timing()
    with peak_memory(device, timing):
        for _ in range(runs):
            with lap(device, timing.laps):
                work()
    return timing


@contextmanager
def lap(device: torch.device, laps: list[Lap]) -> Iterator[None]:
    """Add what the block took."""
    synchronize(device)
    start, computed = time.perf_counter(), time.process_time()
    yield
    synchronize(device)
    laps.append(Lap(time.perf_counter() - start, time.process_time() - computed))


@contextmanager
def peak_memory(device: torch.device, timing: Timing) -> Iterator[None]:
    """Note the block's peak of allocated memory, the weights that lay there before included, if it is the highest."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    yield
    if device.type == "cuda":
        timing.peak = max(timing.peak or 0, torch.cuda.max_memory_allocated(device))


def free(device: torch.device) -> None:
    """Hand a GPU's memory back that nothing refers to any more; a module and its trainer refer to each other."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def matrix_product(device: torch.device, dtype: torch.dtype, runs: int = 5) -> float:
    """Operations a second of a large square matrix product: 8192 wide on CUDA, 1024 on a CPU; the median run's."""
    width = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    return 2 * width**3 / median(measure(lambda: left @ right, device, 1, runs).laps).clock
