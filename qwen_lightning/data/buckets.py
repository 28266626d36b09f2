"""Length buckets: which examples share a batch, so that little of it is padding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qwen_lightning.data.mixture import Indices, generator

_BUCKET_WIDTH = 1.1


def batch_count(examples: int, batch_size: int, world_size: int) -> int:
    """Batches an epoch on each device."""
    return -(-examples // (batch_size * world_size))


def length_buckets(
    order: Indices, lengths: NDArray[np.integer], batch_size: int, world_size: int, window: int, seed: int, epoch: int
) -> list[list[list[int]]]:
    """Cut an epoch into steps, and each step into one batch a device.

    The shuffled order is taken in windows; each window is sorted by bucket, cut into steps, and the steps are
    shuffled. A bucket spans lengths within 10 % of each other, in which the order stays random, so that tasks mix in
    a batch and differ from epoch to epoch. Within a step the devices are dealt examples in turn, so that their work
    is alike. The longest step comes first: a batch that does not fit into memory shows at once.

    Every example of `order` is in exactly one batch. The last step holds what is left and is dealt as evenly as can
    be; only where fewer examples than devices are left do the remaining devices repeat one of them (at most
    `world_size - 1` repeats an epoch, none on one device).

    Args:
        order: Positions of the epoch's examples, shuffled. Shape (examples,).
        lengths: Tokens of every record. Shape (records,).
        batch_size: Examples a device and step.
        world_size: Number of devices.
        window: Steps that are bucketed together; 1 keeps the shuffled order.
        seed: Seed of the order of the steps.
        epoch: Number of the epoch.

    Returns:
        steps × devices × positions.
    """
    step_size = batch_size * world_size
    whole = len(order) // step_size * step_size
    bucket = np.floor(np.log(lengths) / np.log(_BUCKET_WIDTH))
    steps: list[Indices] = []
    for start in range(0, whole, step_size * window):
        part = order[start : min(start + step_size * window, whole)]
        if window > 1:
            part = part[np.argsort(bucket[part], kind="stable")]
        steps += np.split(part, len(part) // step_size)
    steps = [steps[i] for i in generator(seed, "steps", epoch).permutation(len(steps))]
    if steps and window > 1:
        longest = max(range(len(steps)), key=lambda i: int(lengths[steps[i]].max()))
        steps[0], steps[longest] = steps[longest], steps[0]
    if whole < len(order):
        steps.append(order[whole:])
    return [[_share(step, rank, world_size) for rank in range(world_size)] for step in steps]


def _share(step: Indices, rank: int, world_size: int) -> list[int]:
    dealt = step[rank::world_size]
    return (dealt if len(dealt) else step[rank % len(step) :][:1]).tolist()
