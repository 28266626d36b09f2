"""Builds every stage of a pipeline as `fit` would, reads its records, trains nothing, and writes down its plan.

The pipeline runs it as `python -m qwen_lightning.stage_plans STAGES OUTPUT`, so as not to hold torch itself while its
stages train. STAGES is JSON, stage name to configs; OUTPUT will be JSON, stage name to plan.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from qwen_lightning import cli
from qwen_lightning.callbacks.adapter_checkpoint import AdapterCheckpoint
from qwen_lightning.callbacks.red_line_brake import RedLineBrake
from qwen_lightning.callbacks.regression_eval import RegressionEval
from qwen_lightning.data.base import RecordDataModule
from qwen_lightning.data.grpo import GRPODataModule
from qwen_lightning.errors import ConfigError, QwenLightningError
from qwen_lightning.modules.base import AdapterModule
from qwen_lightning.pipeline.plan import StagePlan

_REGRESSION = ("general_regression", "task_regression")
_SFT, _GRPO = ("task_sft", "general_sft", *_REGRESSION), ("prompts", "general_prompts", *_REGRESSION)


def plan_of(configs: Sequence[str]) -> StagePlan:
    """Build a stage and say what it reads and writes.

    Raises:
        QwenLightningError: A fault to mend, in its configs or its records.
    """
    built = cli.build([part for path in configs for part in ("-c", path)])
    module, data = cast(AdapterModule, built.model), cast(RecordDataModule, built.datamodule)
    callbacks = built.trainer.callbacks  # type: ignore[attr-defined]
    checkpoint = _only(AdapterCheckpoint, callbacks, "it writes the adapter that the stage is for")
    brake = _only(RedLineBrake, callbacks, "the next stage is gated on the regression of this one")
    if not brake.lines:
        raise ConfigError("RedLineBrake.lines: is empty; the next stage is gated on the lines of this one")
    regression = _only(RegressionEval, callbacks, "red lines are judged on its scores")
    places = [callbacks.index(callback) for callback in (regression, brake, checkpoint)]
    if places != sorted(places):
        raise ConfigError("trainer.callbacks: the order is RegressionEval, RedLineBrake, AdapterCheckpoint")
    if any(isinstance(callback, ModelCheckpoint) and callback.dirpath for callback in callbacks):
        raise ConfigError("ModelCheckpoint.dirpath: leave it out; checkpoints are found again in the run's folder")
    logger = built.trainer.logger
    if len(built.trainer.loggers) != 1 or not isinstance(logger, TensorBoardLogger):
        raise ConfigError("trainer.logger: give one TensorBoardLogger; its folder is where checkpoints are found again")
    if logger.sub_dir:
        raise ConfigError("trainer.logger.init_args.sub_dir: leave it out; checkpoints lie in the run's own folder")
    try:
        data.read_buckets()
    finally:
        module.tasks.close()
    settings = _GRPO if isinstance(data, GRPODataModule) else _SFT
    executors = (getattr(task, "executor", None) for task in module.tasks.values())
    folders = (getattr(executor, "databases", None) for executor in executors)
    return StagePlan(
        configs=list(configs),
        stage=module.stage,
        base_model=module.name_or_path,
        quantization=module.quantization,
        adapter=module.adapter,
        writes=checkpoint.dirpath,
        name=checkpoint.name,
        tasks=data.trained_tasks,
        sources={name: _listed(getattr(data, name)) for name in settings},
        data=data.data_hashes,
        databases=sorted({os.path.relpath(folder) for folder in folders if folder}),
        runs=str(Path(logger.log_dir).parent),  # with variables and ~ expanded, as the run's own
    )


def plan_all(stages: Mapping[str, Sequence[str]]) -> dict[str, StagePlan]:
    """Plan every stage.

    Raises:
        QwenLightningError: The first fault; the message names the stage and its configs.
    """
    plans = {}
    for name, configs in stages.items():
        try:
            plans[name] = plan_of(configs)
        except (QwenLightningError, MisconfigurationException) as error:
            raise ConfigError(f"stage {name} ({', '.join(configs)}): {error}") from error
    return plans


def _only(kind: type, callbacks: Sequence[Any], why: str) -> Any:
    found = [callback for callback in callbacks if isinstance(callback, kind)]
    if len(found) != 1:
        raise ConfigError(f"trainer.callbacks: has {len(found)} {kind.__name__}; a stage needs one: {why}")
    return found[0]


def _listed(paths: list[str] | str | None) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths or [])


if __name__ == "__main__":
    try:
        planned = plan_all(json.loads(sys.argv[1]))
    except QwenLightningError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    text = json.dumps({name: plan.model_dump() for name, plan in planned.items()})
    Path(sys.argv[2]).write_text(text, encoding="utf-8")
