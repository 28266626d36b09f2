"""A signal ends the run after a checkpoint, not in the middle of a step."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from qwen_lightning.callbacks.lookup import find_callback
from qwen_lightning.errors import SignalStop


class SignalCheckpoint(Callback):
    """On SIGTERM or SIGINT: finish the step, write a checkpoint, stop; the command exits with 4.

    Nothing is evaluated any more, and no adapter is written: the run is not over. A second signal is the default
    action of that signal.

    Args:
        filename: Name of the checkpoint, in the run's folder.
    """

    def __init__(self, filename: str = "interrupted.ckpt") -> None:
        self.filename = filename
        self.stop: SignalStop | None = None
        self._received = 0
        self._previous: dict[int, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":  # only training has something to save; elsewhere a signal ends at once
            return
        self.stop, self._received = None, 0
        self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._received:  # the trainer has put handlers of its own over ours since
            for number in self._previous:
                signal.signal(number, self._note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # One process may get the signal alone; all must write and stop in the same step.
        received = int(trainer.strategy.reduce(torch.tensor(self._received, device=pl_module.device), reduce_op="max"))
        if received and self.stop is None:
            folder = trainer.log_dir or trainer.default_root_dir
            path = Path(folder) / self.filename
            trainer.save_checkpoint(path)
            trainer.should_stop = True
            name = signal.Signals(received).name
            self.stop = SignalStop(f"{name}: stopped after step {trainer.global_step}; go on with --ckpt_path {path}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        signal.signal(number, signal.SIG_DFL)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


def interrupted(trainer: Trainer) -> bool:
    """Whether a signal ended the run: what is left to do must not take the time that the sender grants."""
    signals = find_callback(trainer, SignalCheckpoint)
    return signals is not None and signals.stop is not None
