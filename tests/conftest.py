"""Fixtures that many tests share: a tiny demo, the command line in process, and a real browser."""

from __future__ import annotations

import os

# Models here are tiny: a second thread costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1")
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from qwen_lightning.__main__ import main
from tests.browser import Browser, find_browser
from tools.demo.tiny import TinyDemo, make_tiny

REPOSITORY = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n N --dist loadgroup` a folder's tests stay in one process, and share what is made once a session."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        item.add_marker(pytest.mark.xdist_group(folder))


@pytest.fixture(scope="session", autouse=True)
def _quiet_machine() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> TinyDemo:
    """Records, databases, tokenizer and a random two-layer Qwen3."""
    return make_tiny(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def in_repository(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory that the shipped configs' paths are relative to."""
    monkeypatch.chdir(REPOSITORY)
    return REPOSITORY


class Stage:
    """Runs shipped configs on the tiny demo, with everything written below one folder."""

    def __init__(self, demo: TinyDemo, folder: Path) -> None:
        self.demo, self.folder = demo, folder

    def overlay(self, name: str, changes: dict) -> str:
        """Write a YAML overlay and return its path."""
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(changes), encoding="utf-8")
        return str(path)

    def callbacks(self, kind: str, every: int = 2, lines: list[dict] | None = None) -> list[dict]:
        """The shipped callbacks, with intervals for a few steps."""
        lines = lines if lines is not None else [{"metric": "general/all", "max_drop": 0.03}]
        name = "base-sft" if kind == "sft" else "sql"
        return [
            {"class_path": "RegressionEval", "init_args": {"every_n_steps": every}},
            {"class_path": "RedLineBrake", "init_args": {"lines": lines}},
            {
                "class_path": "ModelCheckpoint",
                "init_args": {"save_last": True, "every_n_train_steps": 1, "save_top_k": -1},
            },
            {
                "class_path": "AdapterCheckpoint",
                "init_args": {"dirpath": str(self.folder / "adapters" / name), "name": name},
            },
            {"class_path": "SampleTable", "init_args": {"every_n_steps": 1}},
            {"class_path": "SignalCheckpoint"},
        ]

    def changes(self, kind: str, steps: int, run: str, every: int = 2, lines: list[dict] | None = None) -> dict:
        """What makes `configs/sft.yaml` or `configs/grpo_sql.yaml` run on the tiny demo."""
        file = self.demo.file
        executor = {"class_path": "DuckDBExecutor", "init_args": {"databases": str(self.demo.databases), "workers": 1}}
        tasks: dict = {"sql": executor}
        model = {
            "name_or_path": str(self.demo.base),
            "dtype": "float32",
            "micro_batch_tokens": 2048,
            "max_completion_length": 12,
        }
        data = {
            "general_regression": [str(file("general_regression"))],
            "task_regression": [str(file("task_regression"))],
        }
        if kind == "sft":
            tasks["cypher"] = None  # judged statically: a Java machine a run would take longer than the run
            data |= {"task_sft": [str(file("task_sft"))], "general_sft": [str(file("general_sft"))], "batch_size": 4}
            model |= {"learning_rate": 1e-3}
        else:
            data |= {"prompts": [str(file("grpo_sql"))], "general_prompts": [str(file("general_sft"))]}
            data |= {"prompts_per_step": 4, "general_ratio": 0.05}
            tasks["custom"] = [{"class_path": "tests.modules.replay.CountingSQL"}]
            model |= {"adapter": str(self.folder / "adapters" / "base-sft"), "group_size": 4, "learning_rate": 1e-3}
        return {
            "tasks": tasks,
            "model": {"init_args": model},
            "data": {"init_args": data},
            "trainer": {
                "accelerator": "cpu",
                "precision": "32-true",
                "max_steps": steps,
                "max_epochs": -1,
                "logger": {
                    "class_path": "TensorBoardLogger",
                    "init_args": {"save_dir": str(self.folder), "name": run, "version": 0},
                },
                "callbacks": self.callbacks(kind, every, lines),
                "enable_model_summary": False,
                "enable_progress_bar": False,
            },
        }

    def fit(self, kind: str, steps: int = 2, run: str | None = None, *more: str, **options) -> int:
        """Fit, and return the exit code."""
        run = run or kind
        config = "configs/sft.yaml" if kind == "sft" else "configs/grpo_sql.yaml"
        overlay = self.overlay(run, self.changes(kind, steps, run, **options))
        return main(["fit", "-c", config, "-c", overlay, *more])

    def log_dir(self, run: str) -> Path:
        """Where a run's event files, checkpoints and regression rows are."""
        return self.folder / run / "version_0"


@pytest.fixture
def stage(demo: TinyDemo, tmp_path: Path, in_repository: Path) -> Stage:
    """A fresh folder of runs."""
    return Stage(demo, tmp_path)


@pytest.fixture(scope="session")
def trained(demo: TinyDemo, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A folder in which Base-SFT has been trained for a few steps."""
    stage = Stage(demo, tmp_path_factory.mktemp("trained"))
    before = os.getcwd()
    os.chdir(REPOSITORY)
    assert stage.fit("sft", 3) == 0
    os.chdir(before)
    return stage


@pytest.fixture(scope="session")
def braked(trained: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a GRPO run that its red line stopped, after every step of the ladder."""
    stage = Stage(trained.demo, tmp_path_factory.mktemp("braked"))
    shutil.copytree(trained.folder / "adapters", stage.folder / "adapters")
    # Every step away from the parent crosses it.
    line = {"metric": "general/forward_kl", "max_drop": 0.0, "alpha": 0.2, "patience": 1}
    before = os.getcwd()
    os.chdir(REPOSITORY)
    assert stage.fit("grpo", 10, "sql", every=2, lines=[line]) == 3
    os.chdir(before)
    return stage.log_dir("sql")


Scalars = Callable[[Path], dict[str, list[float]]]


@pytest.fixture(scope="session")
def scalars() -> Scalars:
    """Reads event files: tag to values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder: Path) -> dict[str, list[float]]:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    return read


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    if missing := find_browser():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    with Browser() as opened:
        yield opened
