"""A pipeline on the tiny demo."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from qwen_lightning.adapters.manifest import Manifest
from tests.conftest import REPOSITORY, Stage
from tools.demo.tiny import TinyDemo

CONFIGS = {
    "base-sft": "sft",
    "persona": "persona",
    "fc": "grpo_fc",
    "slot": "grpo_slot",
    "sql": "grpo_sql",
    "cypher": "grpo_cypher",
}


class PipelineRun:
    """The shipped configs, each with an overlay that shrinks it, and the command in a process of its own."""

    def __init__(self, demo: TinyDemo, folder: Path, stages: Sequence[str] = tuple(CONFIGS), steps: int = 3) -> None:
        self.demo, self.folder, self.stages = demo, folder, stages
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("general_regression", "task_regression"):  # one record of each task, to save time
            lines = demo.file(name).read_text(encoding="utf-8").splitlines()
            first = {json.loads(line)["task"]: line for line in lines}
            self.records(name).write_text("".join(f"{line}\n" for line in first.values()), encoding="utf-8")
        self.overlays = {name: self.shrunk(name, steps) for name in stages}
        self.write()

    def shrunk(self, name: str, steps: int) -> dict:
        """What makes a stage's config run on the tiny demo."""
        kind = "sft" if name in ("base-sft", "persona") else "grpo"
        changes = Stage(self.demo, self.folder).changes(kind, steps, name, every=100)
        trainer, data, model = changes["trainer"], changes["data"]["init_args"], changes["model"]["init_args"]
        data |= {name: [str(self.records(name))] for name in ("general_regression", "task_regression")}
        model |= {"quantization": "none", "gradient_checkpointing": False}
        trainer["logger"]["init_args"] = {"save_dir": str(self.folder / "runs")}
        for callback in trainer["callbacks"]:
            if callback["class_path"] == "AdapterCheckpoint":
                callback["init_args"] = {"dirpath": str(self.adapter(name)), "name": name}
        hold = {"class_path": "tests.pipeline.pause.PauseAfter", "init_args": {"folder": str(self.folder), "step": 1}}
        trainer["callbacks"].append(hold)
        if name != "base-sft":
            model["adapter"] = str(self.adapter("base-sft"))
        if name == "persona":
            del data["general_sft"]
            data["task_sft"] = [str(self.demo.file("persona_sft"))]
        if kind == "grpo":
            data |= {"prompts": [str(self.demo.file(f"grpo_{name}"))], "prompts_per_step": 2}
            model["group_size"] = 2
        if name == "cypher":
            arguments = {"databases": str(self.demo.databases), "workers": 1}
            changes["tasks"] = {"cypher": {"class_path": "ArcadeDBExecutor", "init_args": arguments}}
        elif name not in ("base-sft", "sql"):
            del changes["tasks"]
        return changes

    def records(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    @property
    def config(self) -> Path:
        return self.folder / "pipeline.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "pipeline"

    def adapter(self, name: str) -> Path:
        return self.folder / "adapters" / name

    def write(self) -> None:
        """Write the overlays and the pipeline's config."""
        stages = {}
        for name, changes in self.overlays.items():
            path = self.folder / f"{name}.yaml"
            path.write_text(yaml.safe_dump(changes), encoding="utf-8")
            stages[name] = [f"configs/{CONFIGS[name]}.yaml", str(path)]
        self.config.write_text(yaml.safe_dump({"folder": str(self.state), "stages": stages}, sort_keys=False))

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Start the command at the head of a process group of its own."""
        command = [sys.executable, "-m", "qwen_lightning", "pipeline", "-c", str(self.config), *more]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=REPOSITORY, text=True, start_new_session=True, **pipes)

    def finish(self, process: subprocess.Popen[str] | None = None) -> tuple[int, list[str]]:
        """Exit code and output lines, once it ends."""
        process = process or self.start()
        output = process.communicate(timeout=300)[0]
        return process.returncode, output.strip().splitlines()

    def held(self, process: subprocess.Popen[str]) -> None:
        """Wait until a stage is held after a step."""
        deadline = time.monotonic() + 240
        while not (self.folder / "held").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def hold(self, on: bool) -> None:
        """Have the next stage wait after a step, or let it go on."""
        (self.folder / "held").unlink(missing_ok=True)
        (self.folder / "hold").touch() if on else (self.folder / "hold").unlink()

    def manifest(self, name: str) -> Manifest:
        return Manifest.read(self.adapter(name))


@pytest.fixture
def pipeline(demo: TinyDemo, tmp_path: Path) -> PipelineRun:
    return PipelineRun(demo, tmp_path)
