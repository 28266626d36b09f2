"""File hashes."""

import hashlib
from pathlib import Path

from qwen_lightning.hashing import file_sha256


def test_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"record")
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"record").hexdigest()
