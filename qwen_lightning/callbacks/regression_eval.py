"""RegressionEval: scores the regression records on the policy every N steps, against the stage's parent."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from qwen_lightning.callbacks.signals import interrupted
from qwen_lightning.data.base import RecordDataModule
from qwen_lightning.errors import ConfigError
from qwen_lightning.evaluation.sharded import run_sharded
from qwen_lightning.modules.base import AdapterModule
from qwen_lightning.regression.report import comparison_table
from qwen_lightning.regression.scores import ScoreRow, summarize, write_rows


class RegressionEval(Callback):
    """Scores buckets D and E before the first step, every N steps and at the end.

    Before the first step the policy *is* the stage's parent (the bare base for Base-SFT, Base-SFT for the rest),
    so these scores are the baseline. Rows lie in the run's folder under `regression/`, a file an evaluation.

    Args:
        every_n_steps: Optimizer steps between two evaluations.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ConfigError(f"RegressionEval: every_n_steps is {every_n_steps}; it must be at least 1")
        self.every_n_steps = every_n_steps
        self.baseline: list[ScoreRow] = []
        self.latest: list[ScoreRow] = []
        self.step = -1  # of the latest evaluation

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.step < 0 and trainer.global_step > 0:
            raise ConfigError("the checkpoint holds no baseline: resume with the callbacks that wrote it")
        if self.step < 0:
            if trainer.is_global_zero:
                print("Scoring the regression records before the first step, for the baseline")
            self.baseline = self.evaluate(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # At multiples of the interval, wherever the run began or will end: a resumed run must see the same evaluations.
        if trainer.global_step // self.every_n_steps > self.step // self.every_n_steps:
            self.evaluate(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if interrupted(trainer):
            return
        if self.step != trainer.global_step:
            self.evaluate(trainer, pl_module)
        if trainer.is_global_zero and self.latest:
            print(f"Regression records before and after {trainer.global_step} steps")
            print(comparison_table(self.baseline, self.latest))

    def evaluate(self, trainer: Trainer, pl_module: LightningModule) -> list[ScoreRow]:
        """Score, log and keep; all ranks take part."""
        assert isinstance(pl_module, AdapterModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, RecordDataModule)
        records = [*data.general_regression_records, *data.task_regression_records]
        if not records:
            warnings.warn("no regression records: nothing watches what the adapter forgets", stacklevel=2)
        with trainer.precision_plugin.forward_context():
            self.latest = run_sharded(pl_module.evaluator, records)
        self.step = trainer.global_step
        metrics = {f"regression/{name}": value for name, value in summarize(self.latest).items()}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=self.step)
        log_dir = trainer.log_dir  # a collective: all ranks must ask
        if trainer.is_global_zero and log_dir:
            folder = Path(log_dir) / "regression"
            folder.mkdir(parents=True, exist_ok=True)
            write_rows(folder / f"step_{self.step:06d}.jsonl", self.latest)
        return self.latest

    def state_dict(self) -> dict[str, Any]:
        return {
            "baseline": [row.to_dict() for row in self.baseline],
            "latest": [row.to_dict() for row in self.latest],
            "step": self.step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.baseline = [ScoreRow.from_dict(row) for row in state_dict["baseline"]]
        self.latest = [ScoreRow.from_dict(row) for row in state_dict["latest"]]
        self.step = state_dict["step"]
