"""Length buckets: which examples share a step, and which device takes which of them."""

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

    A step is a random draw from the mixture, so that its gradient speaks for all tasks. Within it, examples are sorted
    by length, longest first, and dealt to the devices in turn, so that their work is alike. `packing` cuts each batch
    so that little of it is padding; where examples have a row each and a batch is small, a `window` above 1 sorts
    several steps together, and steps then lean to the tasks that have a length in common. Lengths within 10 % of each
    other stay in random order there. The longest step comes first: what does not fit into memory shows at once.

    Every example of `order` is in exactly one batch. The last step holds what is left and is dealt as evenly as can
    be; only where fewer examples than devices are left do the remaining devices repeat one of them (at most
    `world_size - 1` repeats an epoch, none on one device).

    Args:
        order: Positions of the epoch's examples, shuffled. Shape (examples,).
        lengths: Tokens of every record. Shape (records,).
        batch_size: Examples a device and step.
        world_size: Number of devices.
        window: Steps that are sorted together.
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
    if steps:
        longest = max(range(len(steps)), key=lambda i: int(lengths[steps[i]].max()))
        steps[0], steps[longest] = steps[longest], steps[0]
    if whole < len(order):
        steps.append(order[whole:])
    steps = [step[np.argsort(-lengths[step], kind="stable")] for step in steps]
    return [[_share(step, rank, world_size) for rank in range(world_size)] for step in steps]


def _share(step: Indices, rank: int, world_size: int) -> list[int]:
    dealt = step[rank::world_size]
    return (dealt if len(dealt) else step[rank % len(step) :][:1]).tolist()
