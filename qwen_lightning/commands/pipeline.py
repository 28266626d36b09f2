"""`pipeline`: all stages in order, from Base-SFT to the six adapters; starts again where it stopped."""

from __future__ import annotations

import argparse

from qwen_lightning.pipeline.config import PipelineConfig
from qwen_lightning.pipeline.runner import run_pipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        required=True,
        metavar="CONFIG",
        help="YAML with the stages; several compose, the later wins, and what is neither `folder` nor `stages` in them "
        "is laid over every stage, as configs/trainer/ddp.yaml",
    )


def run(args: argparse.Namespace) -> int:
    """Run the pipeline.

    Raises:
        ConfigError: Stages that cannot be meant, found before the first one trains.
        RedLineStop: A red line stopped a stage.
        SignalStop: A signal ended the pipeline.
        StageError: A stage ended without its adapter.
    """
    print(f"\n{run_pipeline(PipelineConfig.read(args.config))}")
    return 0
