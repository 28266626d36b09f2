"""What the verbs without a model need of a config: its tasks and its rewards."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from qwen_lightning.config_files import read_config
from qwen_lightning.errors import ConfigError
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.tasks.registry import TaskRegistry

SECTIONS = {"tasks": TaskRegistry, "rewards": RewardTable}
#: Argument of TaskRegistry to the executor that `--databases` means where a config names none.
EMBEDDED = {
    "sql": "qwen_lightning.execution.sql.executors.DuckDBExecutor",
    "cypher": "qwen_lightning.execution.cypher.executors.ArcadeDBExecutor",
}


def add_workbench_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments `-c` and `--databases`, which `load_workbench` takes."""
    parser.add_argument("--databases", metavar="DIR", help="folder of databases that SQL and Cypher run on")
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="CONFIG",
        help="YAML with tasks, executors or reward weights of one's own; may repeat, the later wins",
    )


def load_workbench(
    configs: Sequence[str | Path] = (), databases: str | Path | None = None
) -> tuple[TaskRegistry, RewardTable]:
    """Build tasks and rewards from the `tasks` and `rewards` sections of configs; other sections are left alone.

    Args:
        configs: YAML files, of which the later wins, as with `fit -c`.
        databases: Folder of databases for the executors, over what the configs say; a Neo4j server keeps its own.

    Raises:
        ConfigError: A file cannot be read, a section does not fit, or the weights reward wrong answers.
    """
    # Short class names in YAML are those of imported classes.
    import qwen_lightning.execution.cypher.executors
    import qwen_lightning.execution.sql.executors  # noqa: F401

    parser = ArgumentParser(exit_on_error=False)
    for name, kind in SECTIONS.items():
        parser.add_class_arguments(kind, name)
    values = parser.get_defaults()
    for path in configs:
        values = _merge(parser, _sections(path), values, str(path))
    if databases is not None:
        if not Path(databases).is_dir():
            raise ConfigError(f"--databases {databases}: no such folder")
        for language, embedded in EMBEDDED.items():
            executor = values.tasks[language] or Namespace(class_path=embedded)
            if not executor.class_path.endswith(".Neo4jExecutor"):
                override = {"class_path": executor.class_path, "init_args": {"databases": str(databases)}}
                values = _merge(parser, {"tasks": {language: override}}, values, "--databases")
    try:
        built = parser.instantiate_classes(values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"tasks or rewards cannot be built: {error}") from error
    registry, rewards = built.tasks, built.rewards
    rewards.check(registry)
    return registry, rewards


def _sections(path: str | Path) -> dict[str, Any]:
    loaded = read_config(path)
    return {name: loaded[name] for name in SECTIONS if loaded.get(name) is not None}


def _merge(parser: ArgumentParser, sections: dict[str, Any], base: Namespace, source: str) -> Namespace:
    try:
        return parser.parse_object(sections, cfg_base=base)
    except ArgumentError as error:
        raise ConfigError(f"{source}: {' '.join(str(error).split())}") from None
