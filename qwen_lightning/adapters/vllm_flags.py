"""How vLLM is told to serve adapters. Imports no torch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from qwen_lightning.adapters.manifest import CONFIG_FILE, Manifest
from qwen_lightning.errors import AdapterError

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that --max-lora-rank takes


def vllm_command(manifest: Manifest, folders: Mapping[str, Path], rank: int) -> str:
    """The command line with which vLLM serves adapters, to be run where the folders are.

    Args:
        manifest: Any one's.
        folders: Adapter's name to its folder.
        rank: The highest of their ranks.
    """
    words = ["vllm", "serve", manifest.base_model]
    if manifest.base_revision is not None:
        words += ["--revision", manifest.base_revision]
    if manifest.quantization == "nf4":
        words += ["--quantization", "bitsandbytes"]
    words += ["--enable-lora", "--max-lora-rank", str(next((size for size in _RANKS if size >= rank), rank))]
    if len(folders) > 1:
        words += ["--max-loras", str(len(folders))]  # so many in one batch
    words += ["--lora-modules", *(f"{name}={folder.resolve()}" for name, folder in folders.items())]
    return shlex.join(words)


def rank_of(folder: Path) -> int:
    """The rank of an adapter by peft's configuration.

    Raises:
        AdapterError: It names none.
    """
    file = folder / CONFIG_FILE
    try:
        rank = json.loads(file.read_bytes())["r"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"{file} names no rank ({type(error).__name__}); copy the adapter anew") from None
    if not isinstance(rank, int) or rank < 1:
        raise AdapterError(f"{file}: r is {rank!r}, and must be at least 1; copy the adapter anew")
    return rank
