"""RegressionEval: scores the regression records on the policy every N steps, against the stage's parent."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from qwen_lightning.callbacks.scalar_layout import scalar_layout
from qwen_lightning.callbacks.signals import interrupted
from qwen_lightning.data.base import RecordDataModule
from qwen_lightning.errors import ConfigError
from qwen_lightning.evaluation.baseline_cache import BaselineCache, suite_sha256
from qwen_lightning.evaluation.metric_names import metric_names
from qwen_lightning.evaluation.questions import SAMPLE_SEED, SAMPLE_TOKENS, Answer, DriftSample, Question
from qwen_lightning.evaluation.sharded import over_ranks
from qwen_lightning.hashing import folder_hashes
from qwen_lightning.modules.base import AdapterModule
from qwen_lightning.records import RecordBase
from qwen_lightning.regression.intervals import change_intervals
from qwen_lightning.regression.report import comparison_table
from qwen_lightning.regression.scores import ScoreRow, summarize, write_rows

T = TypeVar("T")
_PACKAGES = ("qwen_lightning", "torch", "transformers", "peft", "bitsandbytes")


class RegressionEval(Callback):
    """Scores buckets D and E before the first step, every N steps and at the end.

    Before the first step the policy *is* the stage's parent (the bare base for Base-SFT, Base-SFT for the rest),
    so these scores are the baseline. The parent also samples one completion of each prompt; on these the forward KL
    of every later policy is measured. The run's folder gets `regression/records.jsonl` and a file of rows an
    evaluation.

    Args:
        every_n_steps: Optimizer steps between two evaluations.
        signal_tokens: Length limit of the parent's samples; 0 for none, and no forward KL.
        cache: Keep the parent's answers in `baselines` beside the runs, for the next run from the same parent on the
            same records. Its verdicts are made anew each time.
    """

    def __init__(self, every_n_steps: int = 50, signal_tokens: int = SAMPLE_TOKENS, cache: bool = True) -> None:
        if every_n_steps < 1:
            raise ConfigError(f"RegressionEval: every_n_steps is {every_n_steps}; it must be at least 1")
        if signal_tokens < 0:
            raise ConfigError(f"RegressionEval: signal_tokens is {signal_tokens}; it must be at least 0")
        self.every_n_steps, self.signal_tokens, self.cache = every_n_steps, signal_tokens, cache
        self.baseline: list[ScoreRow] = []
        self.latest: list[ScoreRow] = []
        self.samples: list[DriftSample] = []
        self.step = -1  # of the latest evaluation
        self._questions: list[Question] = []
        self._conditions: dict[str, Any] = {}  # what the baseline was measured under

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, AdapterModule)
        if self.step < 0 and trainer.global_step > 0:
            raise ConfigError("the checkpoint holds no baseline: resume with the callbacks that wrote it")
        records = _records(trainer)
        if not records:
            warnings.warn("no regression records: nothing watches what the adapter forgets", stacklevel=2)
        self._questions = pl_module.evaluator.questions(records)
        conditions = self._conditions_of(trainer, pl_module, records)
        if changed := [name for name, value in self._conditions.items() if value != conditions.get(name)]:
            raise ConfigError(
                f"not those of the checkpoint's baseline: {', '.join(changed)} (suite: the regression records, and how "
                "their tasks ask them); resume with the same, or start anew"
            )
        self._conditions = conditions
        if self.step < 0:
            self._measure_baseline(trainer, pl_module)
        self._introduce(trainer, pl_module, records)

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
            print(f"Regression records before and after {trainer.global_step} steps, by the policy as it is now")
            print(comparison_table(self.baseline, self.latest))

    def metric_names(self, trainer: Trainer, pl_module: LightningModule) -> set[str]:
        """What the regression records can give, known from `setup` on; no model is needed."""
        assert isinstance(pl_module, AdapterModule)
        return metric_names(_records(trainer), pl_module.tasks, pl_module.rewards, self.signal_tokens > 0)

    def evaluate(self, trainer: Trainer, pl_module: LightningModule) -> list[ScoreRow]:
        """Score, log and keep; all ranks take part."""
        assert isinstance(pl_module, AdapterModule)
        started = time.perf_counter()
        evaluator = pl_module.evaluator
        with trainer.precision_plugin.forward_context():
            answers = over_ranks(
                lambda own: evaluator.answer(
                    _pick(self._questions, own), _pick(self.samples, own) if self.samples else None
                ),
                len(self._questions),
            )
        pl_module.rollout.release()  # an evaluation's batches are of other shapes than a rollout's
        self.latest = self._judge(trainer, pl_module, answers)
        self._log(trainer, started)
        return self.latest

    def state_dict(self) -> dict[str, Any]:
        return {
            "baseline": [row.to_dict() for row in self.baseline],
            "latest": [row.to_dict() for row in self.latest],
            "samples": [sample.model_dump() for sample in self.samples],
            "conditions": self._conditions,
            "step": self.step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.baseline = [ScoreRow.from_dict(row) for row in state_dict["baseline"]]
        self.latest = [ScoreRow.from_dict(row) for row in state_dict["latest"]]
        self.samples = [DriftSample(**sample) for sample in state_dict["samples"]]
        self._conditions = state_dict["conditions"]
        self.step = state_dict["step"]

    # ------------------------------------------------------------------ the baseline

    def _measure_baseline(self, trainer: Trainer, module: AdapterModule) -> None:
        started, count = time.perf_counter(), len(self._questions)
        cache = self._cache(trainer, module)
        # Rank 0 alone looks: a file that appears in between must not divide the ranks.
        found = trainer.strategy.broadcast(cache.read(count) if cache and trainer.is_global_zero else None)
        if found is not None:
            answers, self.samples = found.answers, found.samples
            if cache and trainer.is_global_zero:
                print(f"Baseline of {module.parent.name if module.parent else 'the bare base'}: from {cache.path}")
        else:
            if trainer.is_global_zero:
                print("Scoring the regression records before the first step, for the baseline")
            answers = self._ask_parent(trainer, module)
        self.baseline = self.latest = self._judge(trainer, module, answers)
        if found is None and cache and trainer.is_global_zero:
            cache.write(answers, self.samples)
        self._log(trainer, started)

    def _ask_parent(self, trainer: Trainer, module: AdapterModule) -> list[Answer]:
        evaluator, questions = module.evaluator, self._questions
        with trainer.precision_plugin.forward_context():
            if self.signal_tokens:
                self.samples = over_ranks(
                    lambda own: evaluator.sample(
                        _pick(questions, own), self.signal_tokens, SAMPLE_SEED + trainer.global_rank
                    ),
                    len(questions),
                )
            answers = over_ranks(lambda own: evaluator.answer(_pick(questions, own)), len(questions))
        module.rollout.release()
        # The KL of a policy from itself, which need not be computed.
        return [answer.model_copy(update={"forward_kl": 0.0}) for answer in answers] if self.samples else answers

    def _cache(self, trainer: Trainer, module: AdapterModule) -> BaselineCache | None:
        folder = trainer.logger.save_dir if trainer.logger else None
        if not (self.cache and self._questions and folder and trainer.is_global_zero):
            return None
        base, device = Path(module.name_or_path), module.policy.device
        revision = getattr(module.policy.backbone.config, "_commit_hash", None) or module.revision
        measured = self._conditions | {
            "base": folder_hashes(base) if base.is_dir() else [module.name_or_path, revision],
            "adapter": module.parent and [module.parent.sha256, module.lora.r, module.lora.alpha],
            # What shares a forward pass, and so how it rounds.
            "rollout": [
                type(module.rollout).__module__,
                type(module.rollout).__qualname__,
                module.rollout.fingerprint(module.policy),
            ],
            "layers": module.layers_from,
            "layout": module.policy.layout,
            "token_budget": module.evaluator.token_budget,
            "ranks": trainer.world_size,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "versions": {name: version(name) for name in _PACKAGES},
        }
        return BaselineCache(Path(folder) / "baselines", measured)

    def _conditions_of(self, trainer: Trainer, module: AdapterModule, records: Sequence[RecordBase]) -> dict[str, Any]:
        """What the answers depend on, beside the model."""
        return {
            "suite": suite_sha256(records, self._questions),
            "quantization": module.quantization,
            "dtype": module.dtype_name,
            "precision": str(trainer.precision),
            "max_completion_length": module.max_completion_length,
            "signal_tokens": [self.signal_tokens, SAMPLE_SEED],
        }

    # ------------------------------------------------------------------ rows

    def _judge(self, trainer: Trainer, module: AdapterModule, answers: Sequence[Answer]) -> list[ScoreRow]:
        records = _records(trainer)
        return over_ranks(lambda own: module.evaluator.judge(_pick(records, own), _pick(answers, own)), len(records))

    def _log(self, trainer: Trainer, started: float) -> None:
        self.step = trainer.global_step
        metrics = {f"regression/{name}": value for name, value in summarize(self.latest).items()}
        start = summarize(self.baseline)
        if "general/nll" in start:
            metrics["regression/general/nll_reference"] = start["general/nll"]
        for name, (low, high) in change_intervals(self.baseline, self.latest).items():
            metrics |= {f"interval/{name}/low": low, f"interval/{name}/high": high}
        self._write(trainer, f"step_{self.step:06d}.jsonl", self.latest)
        metrics["regression/seconds"] = time.perf_counter() - started
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=self.step)

    def _introduce(self, trainer: Trainer, module: AdapterModule, records: Sequence[RecordBase]) -> None:
        """What a run's folder says once: the records, the baseline, and how TensorBoard is to show the run."""
        folder = self._folder(trainer)
        if folder is not None:
            lines = [record.model_dump_json(by_alias=True, exclude_unset=True) + "\n" for record in records]
            (folder / "records.jsonl").write_text("".join(lines), encoding="utf-8")
            for path in folder.glob("step_*.jsonl"):
                if int(path.stem.removeprefix("step_")) > self.step:
                    path.unlink()  # of a branch of the run that this resume leaves
        self._write(trainer, "step_000000.jsonl", self.baseline)  # a run that goes on has a new folder
        layout = scalar_layout(summarize(self.baseline), module.tasks, module.stage)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                logger.experiment.add_custom_scalars(layout)

    def _write(self, trainer: Trainer, name: str, rows: Sequence[ScoreRow]) -> None:
        folder = self._folder(trainer)
        if folder is not None:
            write_rows(folder / name, rows)

    @staticmethod
    def _folder(trainer: Trainer) -> Path | None:
        log_dir = trainer.log_dir  # a collective: all ranks must ask
        if not (trainer.is_global_zero and log_dir):
            return None
        folder = Path(log_dir) / "regression"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _records(trainer: Trainer) -> list[RecordBase]:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, RecordDataModule)
    return [*data.general_regression_records, *data.task_regression_records]


def _pick(values: Sequence[T], own: Sequence[int]) -> list[T]:
    return [values[index] for index in own]
