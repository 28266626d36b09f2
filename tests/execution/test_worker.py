"""Workers when their parent is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PARENT = """
import os, sys
from qwen_lightning.execution.base import QueryJob
from qwen_lightning.execution.sql.executors import DuckDBExecutor
schema = "CREATE TABLE t (a INTEGER);"
job = QueryJob("SELECT a FROM t", schema, "postgres", gold="SELECT a FROM t", database="d")
print(DuckDBExecutor(sys.argv[1], workers=1).judge(job).executes, flush=True)
os._exit(1)
"""


def test_they_end_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "d.sql").write_text("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1);")
    # The pipes close when the last worker, too, has ended.
    found = subprocess.run([sys.executable, "-c", _PARENT, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout, found.stderr) == (1, "True\n", "")
