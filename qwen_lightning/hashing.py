"""Hashes by which files are known in manifests and checkpoints."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def head_sha256(path: str | Path, size: int = 1 << 20) -> str:
    """SHA-256 of a file's length and first MiB: enough to tell files of trained weights apart, without reading them."""
    path = Path(path)
    with open(path, "rb") as handle:
        return hashlib.sha256(str(path.stat().st_size).encode() + b"\n" + handle.read(size)).hexdigest()
