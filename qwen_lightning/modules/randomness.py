"""Random number generators in checkpoints: Lightning saves none, and an exact resume needs them all."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import torch
import torch.distributed as dist


def random_state() -> list[dict[str, Any]]:
    """`own_random_state`, one entry a rank. All ranks must call it."""
    own = own_random_state()
    if not (dist.is_available() and dist.is_initialized()):
        return [own]
    states: list[dict[str, Any]] = [{}] * dist.get_world_size()
    dist.all_gather_object(states, own)
    return states


def own_random_state() -> dict[str, Any]:
    """States of this process's global generators: Python's, NumPy's, torch's and its current GPU's.

    Made of tensors and plain numbers, so that `torch.load(weights_only=True)` reads it.
    """
    version, state, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": (version, torch.tensor(state), gauss),
        "numpy": (
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_random_state(states: list[dict[str, Any]], rank: int) -> None:
    """Restore this rank's generators; with another number of ranks than before, warn and leave them."""
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if len(states) != world:
        warnings.warn(
            f"the checkpoint was written by {len(states)} processes, not {world}: the resumed run is not bit-exact",
            stacklevel=2,
        )
        return
    restore_own_random_state(states[rank])


def restore_own_random_state(own: dict[str, Any]) -> None:
    """Restore this process's generators."""
    version, state, gauss = own["python"]
    random.setstate((version, tuple(state.tolist()), gauss))
    name, keys, position, has_gauss, cached = own["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(own["torch"].cpu())
    if own["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(own["cuda"].cpu())
