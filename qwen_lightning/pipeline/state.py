"""The pipeline's state: one file, written whole at every change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from qwen_lightning.errors import ConfigError
from qwen_lightning.pipeline.fingerprint import Fingerprint
from qwen_lightning.pipeline.plan import StagePlan

STATE_FILE = "state.json"


class StageState(BaseModel):
    """Where a stage stands.

    Args:
        status: `running` from its first start until it ended; `stopped` by a red line.
        fingerprint: What it was, or is being, trained from.
        run: Folder of its run: config, checkpoints, event files.
        seconds: Time that it took, over all its starts that ended.
    """

    model_config = ConfigDict(extra="forbid")

    status: Literal["running", "finished", "stopped"]
    fingerprint: Fingerprint
    run: str
    seconds: float = 0.0


class PipelineState(BaseModel):
    """The contents of `state.json`.

    Args:
        configs: Hash of each stage's configs when the plans were made.
        plans: What each stage reads and writes.
        stages: Where each stage stands.
    """

    model_config = ConfigDict(extra="forbid")

    configs: dict[str, str] = {}
    plans: dict[str, StagePlan] = {}
    stages: dict[str, StageState] = {}

    @classmethod
    def read(cls, folder: Path) -> PipelineState:
        """Read the state in a folder; an empty one where there is none yet.

        Raises:
            ConfigError: The file is no state.
        """
        path = folder / STATE_FILE
        if not path.exists():
            return cls()
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                f"{path}: {'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}; remove it: finished stages are "
                "known by their adapters, too"
            ) from None

    def write(self, folder: Path) -> None:
        """Write the state, whole or not at all."""
        partial = folder / f".{STATE_FILE}.partial"
        with open(partial, "w", encoding="utf-8") as handle:
            handle.write(self.model_dump_json(indent=1) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, folder / STATE_FILE)
