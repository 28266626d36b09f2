"""Runs `fit` several times in one pair of processes: a list of argument lists stands in a JSON file.

The first fit starts the other rank, which runs this too; the process group lasts until both end.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from qwen_lightning.__main__ import main

if __name__ == "__main__":
    for arguments in json.loads(Path(sys.argv[1]).read_text("utf-8")):
        if code := main(arguments):
            sys.exit(code)
