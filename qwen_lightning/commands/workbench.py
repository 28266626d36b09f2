"""What the verbs without a model need of a config: its tasks, its rewards and its router."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from qwen_lightning.adapters.manifest import MANIFEST_FILE
from qwen_lightning.config_files import read_config
from qwen_lightning.errors import ConfigError
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.serving.routing.planning import Planner
from qwen_lightning.serving.routing.router import Router
from qwen_lightning.tasks.registry import TaskRegistry

SECTIONS = {"tasks": TaskRegistry, "rewards": RewardTable}
_ROUTER = "qwen_lightning.serving.routing.router.RuleRouter"
#: Argument of TaskRegistry to the executor that `--databases` means where a config names none.
EMBEDDED = {
    "sql": "qwen_lightning.execution.sql.executors.DuckDBExecutor",
    "cypher": "qwen_lightning.execution.cypher.executors.ArcadeDBExecutor",
}


def add_workbench_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments `-c` and `--databases`, which `load_workbench` takes."""
    parser.add_argument("--databases", metavar="DIR", help="folder of databases that SQL and Cypher run on")
    add_config_argument(parser)


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """The argument `-c`."""
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="CONFIG",
        help="YAML with tasks, executors, reward weights or router rules of one's own; may repeat, the later wins",
    )


def load_workbench(
    configs: Sequence[str | Path] = (), databases: str | Path | None = None
) -> tuple[TaskRegistry, RewardTable]:
    """Build tasks and rewards from the `tasks` and `rewards` sections of configs; other sections are left alone.

    Args:
        configs: YAML files, of which the later wins, as with `fit -c`.
        databases: Folder of databases for the executors, over what the configs say. A Neo4j server has its own, which
            stderr is told.

    Raises:
        ConfigError: A file cannot be read, a section does not fit, or the weights reward wrong answers.
    """
    # Short class names in YAML are those of imported classes.
    import qwen_lightning.execution.sql.executors  # noqa: F401
    from qwen_lightning.execution.cypher.executors import Neo4jExecutor

    parser = ArgumentParser(exit_on_error=False)
    for name, kind in SECTIONS.items():
        parser.add_class_arguments(kind, name)
    values = parser.get_defaults()
    for path in configs:
        values = _merge(parser, _sections(path, SECTIONS), values, str(path))
    if databases is not None:
        if not Path(databases).is_dir():
            raise ConfigError(f"--databases {databases}: no such folder")
        for language, embedded in EMBEDDED.items():
            executor = values.tasks[language] or Namespace(class_path=embedded)
            if issubclass(resolve_name(executor.class_path), Neo4jExecutor):
                own = f"tasks.{language} is {executor.class_path.rpartition('.')[2]}, which asks its own server"
                print(f"--databases {databases} is not used for Cypher: {own}", file=sys.stderr)
                continue
            override = {"class_path": executor.class_path, "init_args": {"databases": str(databases)}}
            values = _merge(parser, {"tasks": {language: override}}, values, "--databases")
    try:
        built = parser.instantiate_classes(values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"tasks or rewards cannot be built: {error}") from error
    registry, rewards = built.tasks, built.rewards
    rewards.check(registry)
    return registry, rewards


def load_planner(
    configs: Sequence[str | Path] = (), adapters: str | Path | None = None, databases: str | Path | None = None
) -> Planner:
    """Build the router of the `router` section of configs, over the tasks of their `tasks` section.

    Args:
        configs: YAML files, of which the later wins. `router.class_path` names a router of one's own.
        adapters: Folder whose adapters are the ones that are there, over what the configs say.
        databases: Folder of databases that requests may name, as `load_workbench` takes it.

    Raises:
        ConfigError: A file cannot be read, a section does not fit, or the folder holds no adapter.
    """
    import qwen_lightning.serving.routing.router  # noqa: F401  a short class name in YAML is one of an imported class

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Router, "router", default={"class_path": _ROUTER})
    parser.add_argument("--systems", type=dict[str, str], default={})
    values = parser.get_defaults()
    for path in configs:
        values = _merge(parser, _sections(path, ("router", "systems")), values, str(path))
    if adapters is not None:
        values = _merge(parser, {"router": {"init_args": {"available": adapter_names(adapters)}}}, values, "--adapters")
    try:
        built = parser.instantiate_classes(values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"router cannot be built: {error}") from error
    return Planner(load_workbench(configs, databases)[0], built.router, built.systems)


def adapter_names(folder: str | Path) -> list[str]:
    """The names of the adapters in a folder, by their manifests' folders.

    Raises:
        ConfigError: There is no such folder, or no adapter in it.
    """
    if not Path(folder).is_dir():
        raise ConfigError(f"--adapters {folder}: no such folder")
    names = sorted(manifest.parent.name for manifest in Path(folder).glob(f"*/{MANIFEST_FILE}"))
    if not names:
        raise ConfigError(f"--adapters {folder}: no adapter in it; each is a folder with a {MANIFEST_FILE}")
    return names


def _sections(path: str | Path, names: Iterable[str]) -> dict[str, Any]:
    loaded = read_config(path)
    return {name: loaded[name] for name in names if loaded.get(name) is not None}


def _merge(parser: ArgumentParser, sections: dict[str, Any], base: Namespace, source: str) -> Namespace:
    try:
        return parser.parse_object(sections, cfg_base=base)
    except ArgumentError as error:
        raise ConfigError(f"{source}: {' '.join(str(error).split())}") from None
