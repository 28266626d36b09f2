"""Memory of a device."""

from __future__ import annotations

import torch

GIB = 2**30


def free_memory(device: torch.device) -> int | None:
    """Bytes that tensors can still take on a GPU, what torch holds unused included; None on other devices."""
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
