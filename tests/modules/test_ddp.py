"""Two gloo processes train both stages; their first step is that of one process with the same global batch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from qwen_lightning.__main__ import main
from qwen_lightning.adapters.manifest import Manifest
from tests.conftest import REPOSITORY, Stage


def prepare(stage: Stage, kind: str, run: str, devices: int, changes: dict) -> tuple[list[str], Path]:
    """The arguments of a fit, and the folder where it writes its first step's gradients and loss."""
    folder = stage.folder / f"{run}-first"
    folder.mkdir()
    changes["trainer"]["devices"] = devices
    changes["model"]["init_args"]["gradient_clip"] = 0  # clipping would hide a gradient of the wrong size
    if devices > 1:
        changes["trainer"]["strategy"] = "ddp"
    changes["trainer"]["callbacks"].append(
        {"class_path": "tests.modules.replay.FirstStep", "init_args": {"folder": str(folder)}}
    )
    config = "configs/sft.yaml" if kind == "sft" else "configs/grpo_sql.yaml"
    return ["fit", "-c", config, "-c", stage.overlay(run, changes)], folder


def run_ranks(command: list[str], returns: int = 0) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == returns, done.stderr[-3000:]


@dataclass(frozen=True)
class Pair:
    """A stage's folder, and those of its first step on one device and on two."""

    stage: Stage
    one: Path
    two: Path


@pytest.fixture(scope="module")
def pairs(trained: Stage, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Both stages on one device, here, and on two, in one pair of processes for all."""
    made: dict[str, Pair] = {}
    ranks: list[list[str]] = []
    for name in ("sft", "dapo", "grpo"):
        stage, folders = Stage(trained.demo, tmp_path_factory.mktemp(name)), []
        if name != "sft":
            shutil.copytree(trained.folder / "adapters", stage.folder / "adapters")
        for devices in (1, 2):
            kind, run = "sft" if name == "sft" else "grpo", f"{name}{devices}"
            changes = (sft_changes if name == "sft" else grpo_changes)(stage, run, devices, name)
            arguments, folder = prepare(stage, kind, run, devices, changes)
            folders.append(folder)
            if devices == 2:
                ranks.append(arguments)
                continue
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(REPOSITORY)
                assert main(arguments) == 0
        made[name] = Pair(stage, *folders)
    listed = tmp_path_factory.mktemp("ranks") / "fits.json"
    listed.write_text(json.dumps(ranks), encoding="utf-8")
    run_ranks(["tests.modules.fits", str(listed)])
    return made


def sft_changes(stage: Stage, run: str, devices: int, _: str) -> dict:
    changes = stage.changes("sft", 2, run, every=10)
    changes["data"]["init_args"]["batch_size"] = 8 // devices
    changes["model"]["init_args"] |= {"lora": {"dropout": 0.0}, "micro_batch_tokens": 700}
    return changes


def grpo_changes(stage: Stage, run: str, _: int, loss_type: str) -> dict:
    changes = stage.changes("grpo", 2, run, every=10)
    changes["model"]["init_args"] |= {
        "rollout": {"class_path": "tests.modules.replay.ReplayRollout"},
        "loss": {"class_path": "GRPOLoss", "init_args": {"loss_type": loss_type}},
        "micro_batch_tokens": 700,
    }
    return changes


def assert_same_first_step(one: Path, two: Path) -> None:
    single, double = (torch.load(folder / "gradients.pt") for folder in (one, two))
    assert single.keys() == double.keys()
    scale = max(float(value.abs().max()) for value in single.values())
    assert scale > 0
    for name in single:
        torch.testing.assert_close(single[name], double[name], rtol=1e-4, atol=1e-6 * scale, msg=name)
    losses = [json.loads((folder / "loss.json").read_text())["train/loss"] for folder in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["sft", "dapo", "grpo"])
def test_the_first_step_is_that_of_one_process(pairs: dict[str, Pair], name: str) -> None:
    pair = pairs[name]
    assert_same_first_step(pair.one, pair.two)
    if name != "sft":
        assert Manifest.read(pair.stage.folder / "adapters" / "sql").steps == 2


def test_the_brake_acts_on_all_ranks_in_the_same_step(trained: Stage, stage: Stage) -> None:
    shutil.copytree(trained.folder / "adapters", stage.folder / "adapters")
    changes = stage.changes("grpo", 6, "braked", every=1)
    # Each rank judges 4 of the 8 general records: good before the first step and after it, lost from then on.
    drop = {"class_path": "tests.modules.replay.DroppingGeneral", "init_args": {"right": 8}}
    changes["tasks"]["custom"].append(drop)
    changes["trainer"]["callbacks"].append(
        {"class_path": "tests.modules.replay.RankWeights", "init_args": {"folder": str(stage.folder)}}
    )
    arguments, _ = prepare(stage, "grpo", "braked", 2, changes)
    run_ranks(["qwen_lightning", *arguments], returns=3)
    ranks = [
        [torch.load(stage.folder / f"rank{rank}-step{step}.pt", weights_only=False) for step in range(1, 7)]
        for rank in (0, 1)
    ]
    factors = [(1.0, 1.0), (1.0, 2.0), (1.0, 2.0), (0.5, 2.0), (0.5, 2.0), (0.5, 2.0)]
    for one, two, factor in zip(*ranks, factors, strict=True):
        assert one["factors"] == two["factors"] == factor
        assert all(torch.equal(one["adapter"][name], two["adapter"][name]) for name in one["adapter"])
    for rank in ranks:  # step 6 is the rollback to step 1
        assert all(torch.equal(rank[5]["adapter"][name], rank[0]["adapter"][name]) for name in rank[0]["adapter"])
        for position, state in rank[0]["optimizer"].items():
            assert all(torch.equal(rank[5]["optimizer"][position][name], state[name]) for name in state)
