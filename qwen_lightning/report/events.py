"""Scalars of a run's event files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.util.tensor_util import make_ndarray

from qwen_lightning.errors import DataError

#: What TensorBoard names its files.
PATTERN = "events.out.tfevents.*"


@dataclass(frozen=True)
class Series:
    """A scalar over a run.

    Args:
        steps: (n,), ascending, each once.
        values: (n,), finite.
    """

    steps: NDArray[np.float64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, steps: NDArray[np.float64]) -> Series:
        """The part of it at those of its steps."""
        kept = np.isin(self.steps, steps)
        return Series(self.steps[kept], self.values[kept])


@dataclass(frozen=True)
class Events:
    """What the event files of one folder hold.

    Args:
        scalars: Tag to series; a tag without a finite value has none.
        began: Wall time of the first event, in seconds since 1970.
        ended: Wall time of the last.
        last_began: Wall time of the first event of the last file: when the run was last resumed.
        first_step: Smallest step of a scalar of training, -1 where there is none.
        last_step: Largest.
        torn: What of the files could not be read, a sentence each.
    """

    scalars: Mapping[str, Series]
    began: float
    ended: float
    last_began: float
    first_step: int
    last_step: int
    torn: tuple[str, ...] = ()


def event_files(folder: Path) -> list[Path]:
    """The event files that lie directly in a folder."""
    return sorted(path for path in folder.glob(PATTERN) if path.is_file())


def read_events(folder: Path) -> Events | None:
    """Read all event files of a folder; None where they hold no scalar.

    A resumed run writes a file more. What a later file says of a tag holds from its first step on: earlier files'
    values from there on belong to steps that were taken anew. What follows a damaged record, such as the torn last one
    that a kill leaves, is not read; `torn` says so.

    Raises:
        DataError: A file cannot be read, or is no event file.
    """
    read = [_read(path) for path in event_files(folder)]
    files = sorted((file for file in read if file.points), key=lambda file: file.began)
    if not files:
        return None
    points: dict[str, list[tuple[int, float]]] = {}
    for file in files:
        for tag, found in file.points.items():
            first = min(step for step, _ in found)
            points[tag] = [point for point in points.get(tag, []) if point[0] < first] + found
    trained = [step for tag, found in points.items() if tag.startswith("train/") for step, _ in found]
    scalars = {tag: series for tag, found in points.items() if len(series := _series(found))}
    ended = max(file.ended for file in files)
    torn = tuple(file.torn for file in read if file.torn)
    steps = min(trained, default=-1), max(trained, default=-1)
    return Events(scalars, files[0].began, ended, files[-1].began, *steps, torn)


@dataclass
class _File:
    began: float
    ended: float
    points: dict[str, list[tuple[int, float]]]
    torn: str


#: Bytes of a record beside its event: length, and the checksums of both.
_FRAME = 16


def _read(path: Path) -> _File:
    points: dict[str, list[tuple[int, float]]] = {}
    times: list[float] = []
    read = 0
    try:
        size = path.stat().st_size  # before reading: a run that goes on writes more
        for raw in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(raw)
            read += len(raw) + _FRAME
            times.append(event.wall_time)
            for tag, value in _scalars(event.summary.value):
                points.setdefault(tag, []).append((event.step, value))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path) from None
    except DecodeError as error:
        raise DataError(f"is no event file ({error})", path) from None
    return _File(min(times, default=0.0), max(times, default=0.0), points, _torn(path, read, size, points))


def _torn(path: Path, read: int, size: int, points: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """That a file could not be read to its end; empty where it could."""
    if read >= size:
        return ""
    last = max((step for found in points.values() for step, _ in found), default=None)
    to = "not be read" if last is None else f"be read to step {last:,} only"
    return (
        f"{path.name} could {to}: its record at byte {read:,} of {size:,} is damaged or cut off, as a killed run "
        "leaves its last one; what follows is not shown."
    )


def _scalars(values: Sequence[Summary.Value]) -> Iterator[tuple[str, float]]:
    for value in values:
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            yield value.tag, value.simple_value
        elif kind == "tensor" and value.metadata.plugin_data.plugin_name == "scalars":
            yield value.tag, float(make_ndarray(value.tensor))


def _series(points: Sequence[tuple[int, float]]) -> Series:
    """One value a step, the latest written; NaN stands for a step that had none."""
    latest = dict(points)
    steps = np.array(sorted(latest), dtype=np.float64)
    values = np.array([latest[int(step)] for step in steps], dtype=np.float64)
    finite = np.isfinite(values)
    return Series(steps[finite], values[finite])
