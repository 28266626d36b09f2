"""LightningCLI of this project: what is linked, what is set, and how a stop becomes an exit code."""

from __future__ import annotations

import logging
import warnings
from itertools import pairwise

from jsonargparse import ArgumentError
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

import qwen_lightning.callbacks
import qwen_lightning.execution.executors  # noqa: F401
from qwen_lightning.commands.workbench import read_config
from qwen_lightning.data.base import RecordDataModule
from qwen_lightning.data.grpo import GRPODataModule  # noqa: F401
from qwen_lightning.data.sft import SFTDataModule  # noqa: F401
from qwen_lightning.errors import ConfigError, QwenLightningError
from qwen_lightning.modules.base import AdapterModule
from qwen_lightning.modules.grpo import GRPOModule  # noqa: F401
from qwen_lightning.modules.sft import SFTModule  # noqa: F401
from qwen_lightning.rewards.table import RewardTable
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
)
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
        # A GRPO prompt must leave room for its completion; SFTDataModule has no such argument and no such link.
        parser.link_arguments("model.init_args.max_completion_length", "data.init_args.max_completion_length")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        parser.set_defaults({"trainer.use_distributed_sampler": False, "seed_everything": 0})

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:  # what a constructor refuses comes wrapped in the types that were tried
            raise ConfigError(_explain(str(error))) from error

    def after_fit(self) -> None:
        """Raise what a callback stopped the run for, now that everything is saved."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            stop = getattr(callback, "stop", None)
            if isinstance(stop, QwenLightningError):
                raise stop


def run(args: ArgsType) -> QwenLightningCLI:
    """Run one LightningCLI verb.

    Raises:
        QwenLightningError: A fault to mend, in data, arguments or config, or the reason of a stop.
    """
    for message in _BESIDE_THE_POINT:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    _read_configs(args)
    try:
        return _make(args, run=True)
    except ArgumentError as error:
        raise ConfigError(_explain(str(error))) from error


def build(args: ArgsType) -> QwenLightningCLI:
    """Instantiate trainer, module and data module without running a verb; `args` name none."""
    return _make(args, run=False)


def _make(args: ArgsType, run: bool) -> QwenLightningCLI:
    return QwenLightningCLI(
        AdapterModule,
        RecordDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        parser_kwargs={"exit_on_error": False} | ({verb: {"exit_on_error": False} for verb in VERBS} if run else {}),
        save_config_kwargs={"overwrite": True},
        args=args,
        run=run,
    )


def _read_configs(args: ArgsType) -> None:
    """Refuse a config file that cannot be read; the parser's message would not name it.

    Raises:
        ConfigError: Such a file is given.
    """
    given = [str(arg) for arg in args] if isinstance(args, list) else []
    for flag, value in pairwise([*given, ""]):
        if flag in ("-c", "--config") and value:
            read_config(value)
        elif flag.startswith("--config="):
            read_config(flag.removeprefix("--config="))


def _explain(message: str) -> str:
    """A parser's message in one line, without what it says of the types that it tried."""
    lines = (line.strip().removeprefix("- ") for line in message.splitlines())
    noise = ("Does not validate", "Subtypes:", "Errors:", "Expected a <class 'NoneType'>", "Given value")
    kept = [line for line in lines if line and not line.startswith(noise)]
    return " ".join(kept).replace("Does not validate against any of the Union subtypes", "").replace(":  ", ": ")
