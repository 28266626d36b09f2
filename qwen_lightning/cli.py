"""LightningCLI of this project: what is linked, what is set, and how a stop becomes an exit code."""

from __future__ import annotations

import atexit
import logging
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from jsonargparse import ArgumentError
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

import qwen_lightning.callbacks
import qwen_lightning.execution.cypher.executors
import qwen_lightning.execution.sql.executors  # noqa: F401
from qwen_lightning.callbacks.completions import CompletionsWriter
from qwen_lightning.config_files import read_config
from qwen_lightning.data.base import RecordDataModule
from qwen_lightning.data.grpo import GRPODataModule  # noqa: F401
from qwen_lightning.data.sft import SFTDataModule  # noqa: F401
from qwen_lightning.errors import ConfigError, QwenLightningError, SignalStop
from qwen_lightning.modules.base import AdapterModule
from qwen_lightning.modules.grpo import GRPOModule  # noqa: F401
from qwen_lightning.modules.sft import SFTModule  # noqa: F401
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.vllm.engine import VLLMRollout  # noqa: F401
from qwen_lightning.tasks.registry import TaskRegistry

#: Warnings that tell a user of this command nothing that she could act on.
_BESIDE_THE_POINT = (
    ".*does not have many workers.*",
    "LightningCLI's args parameter is intended.*",
    ".*gradient_checkpointing.* is deprecated.*",
    ".*LeafSpec.*is deprecated.*",
    "Total length of `list` across ranks is zero.*",
    "Using ModelCheckpoint with manual optimization.*",
    "Found .* module.* in eval mode at the start of training.*",
    "The dirpath has changed from.*",
    ".*exists and is not empty.*",
)
#: What Lightning takes for `--ckpt_path` in place of a file.
KEYWORDS = ("last", "best", "hpc")
VERBS = ("fit", "validate", "test", "predict")


class QwenLightningCLI(LightningCLI):
    """`fit`, `validate`, `test` and `predict`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(TaskRegistry, "tasks")
        parser.add_class_arguments(RewardTable, "rewards")
        parser.link_arguments("tasks", "model.init_args.tasks", apply_on="instantiate")
        parser.link_arguments("tasks", "data.init_args.tasks", apply_on="instantiate")
        parser.link_arguments("rewards", "model.init_args.rewards", apply_on="instantiate")
        parser.link_arguments("model.init_args.name_or_path", "data.init_args.tokenizer")
        parser.link_arguments("model.init_args.revision", "data.init_args.tokenizer_revision")
        # A GRPO prompt must leave room for its completion; SFTDataModule has no such argument and no such link.
        parser.link_arguments("model.init_args.max_completion_length", "data.init_args.max_completion_length")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        parser.set_defaults({"trainer.use_distributed_sampler": False, "seed_everything": 0})

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:  # what a constructor refuses comes wrapped in the types that were tried
            raise ConfigError(_explain(str(error))) from error

    def before_predict(self) -> None:
        """Predictions that nobody writes would be lost."""
        if not any(isinstance(callback, CompletionsWriter) for callback in self.trainer.callbacks):  # type: ignore[attr-defined]
            self.trainer.callbacks.append(CompletionsWriter())  # type: ignore[attr-defined]

    def after_fit(self) -> None:
        """Raise what a callback stopped the run for, now that everything is saved.

        The main process alone does: a launcher kills all when another ends with an error.
        """
        self.trainer.strategy.barrier("after_fit")
        if not self.trainer.is_global_zero:
            return
        stops = [getattr(callback, "stop", None) for callback in self.trainer.callbacks]  # type: ignore[attr-defined]
        # A run that a signal ended has not written its adapter yet, whatever else stopped it.
        for kind in (SignalStop, QwenLightningError):
            for stop in stops:
                if isinstance(stop, kind):
                    raise stop


def run(args: ArgsType) -> QwenLightningCLI:
    """Run one LightningCLI verb.

    Raises:
        QwenLightningError: A fault to mend, in data, arguments or config, or the reason of a stop.
    """
    return _make(args, run=True)


def build(args: ArgsType) -> QwenLightningCLI:
    """Instantiate trainer, module and data module without running a verb; `args` name none.

    Raises:
        QwenLightningError: A fault to mend, in arguments or config.
    """
    return _make(args, run=False)


def _make(args: ArgsType, run: bool) -> QwenLightningCLI:
    for message in _BESIDE_THE_POINT:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.trainer.connectors.checkpoint_connector").setLevel(logging.WARNING)
    atexit.register(_leave_process_group)
    _read_files(args)
    verbs = {verb: {"exit_on_error": False} for verb in VERBS} if run else {}
    try:
        return QwenLightningCLI(
            AdapterModule,
            RecordDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            parser_kwargs={"exit_on_error": False} | verbs,
            save_config_kwargs={"overwrite": True},
            args=args,
            run=run,
        )
    except ArgumentError as error:
        raise ConfigError(_explain(str(error))) from error


def _leave_process_group() -> None:
    """End gloo's threads while there is an interpreter; Lightning does so for NCCL alone.

    A thread that lets go of a tensor while the interpreter ends is killed inside C++, and the process aborts.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _read_files(args: ArgsType) -> None:
    """Refuse config and checkpoint files that cannot be read; the parser would not name them, or fail on them.

    Raises:
        ConfigError: Such a file is given.
    """
    readers: dict[str, Callable[[str], object]] = {"-c": read_config, "--config": read_config}
    readers["--ckpt_path"] = _read_checkpoint
    given = [str(arg) for arg in args] if isinstance(args, list) else []
    for argument, following in pairwise([*given, ""]):
        flag, equals, value = argument.partition("=")
        if flag in readers and (value or following):
            readers[flag](value if equals else following)


def _read_checkpoint(name: str) -> None:
    """Refuse what is no checkpoint before a model is loaded.

    Raises:
        ConfigError: It is missing, damaged or something else.
    """
    if name in KEYWORDS:
        return
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"--ckpt_path {path}: there is no such file; a run writes them to its folder's checkpoints/")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling meets in a file that is something else
        raise ConfigError(f"--ckpt_path {path} is no checkpoint, or a damaged one ({type(error).__name__})") from error
    if not isinstance(content, dict) or "random_states" not in content:
        raise ConfigError(f"--ckpt_path {path} is no checkpoint of this trainer")


def _explain(message: str) -> str:
    """A parser's message in one line, without what it says of the types that it tried."""
    lines = (line.strip().removeprefix("- ") for line in message.splitlines())
    noise = ("Does not validate", "Subtypes:", "Errors:", "Expected a <class 'NoneType'>", "Given value")
    kept = [line for line in lines if line and not line.startswith(noise)]
    return " ".join(kept).replace("Does not validate against any of the Union subtypes", "").replace(":  ", ": ")
