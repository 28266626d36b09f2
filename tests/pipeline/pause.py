"""A callback that holds a stage where a test wants it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer


class PauseAfter(Callback):
    """After a step, as long as the file `hold` is there: say so in a file `held`, and wait."""

    def __init__(self, folder: str, step: int) -> None:
        self.hold, self.held, self.step = Path(folder) / "hold", Path(folder) / "held", step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        while trainer.global_step > self.step and self.hold.exists():
            self.held.touch()
            time.sleep(0.02)
