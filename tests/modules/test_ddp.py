"""Two gloo processes train both stages; their first step is that of one process with the same global batch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from qwen_lightning.adapters.manifest import Manifest
from tests.conftest import REPOSITORY, Stage


def fit(stage: Stage, kind: str, run: str, devices: int, changes: dict, returns: int = 0) -> Path:
    """Fit in processes of their own, and return the folder with the first step's gradients and loss."""
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
    command = [sys.executable, "-m", "qwen_lightning", "fit", "-c", config, "-c", stage.overlay(run, changes)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == returns, done.stderr[-3000:]
    return folder


def assert_same_first_step(one: Path, two: Path) -> None:
    single, double = (torch.load(folder / "gradients.pt") for folder in (one, two))
    assert single.keys() == double.keys()
    scale = max(float(value.abs().max()) for value in single.values())
    assert scale > 0
    for name in single:
        torch.testing.assert_close(single[name], double[name], rtol=1e-4, atol=1e-6 * scale, msg=name)
    losses = [json.loads((folder / "loss.json").read_text())["train/loss"] for folder in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-7)


def test_sft(stage: Stage) -> None:
    changes = {}
    for devices, batch in ((1, 8), (2, 4)):
        changes[devices] = stage.changes("sft", 2, f"sft{devices}", every=10)
        changes[devices]["data"]["init_args"]["batch_size"] = batch
        changes[devices]["model"]["init_args"] |= {"lora": {"dropout": 0.0}, "micro_batch_tokens": 700}
    one, two = (fit(stage, "sft", f"sft{devices}", devices, changes[devices]) for devices in (1, 2))
    assert_same_first_step(one, two)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_grpo(trained: Stage, stage: Stage, loss_type: str) -> None:
    shutil.copytree(trained.folder / "adapters", stage.folder / "adapters")
    folders = []
    for devices in (1, 2):
        run = f"grpo{devices}"
        changes = stage.changes("grpo", 2, run, every=1)
        changes["model"]["init_args"] |= {
            "rollout": {"class_path": "tests.modules.replay.ReplayRollout"},
            "loss": {"class_path": "GRPOLoss", "init_args": {"loss_type": loss_type}},
            "micro_batch_tokens": 700,
        }
        folders.append(fit(stage, "grpo", run, devices, changes))
    assert_same_first_step(*folders)
    assert Manifest.read(stage.folder / "adapters" / "sql").steps == 2


def test_the_brake_acts_on_all_ranks_in_the_same_step(trained: Stage, stage: Stage) -> None:
    shutil.copytree(trained.folder / "adapters", stage.folder / "adapters")
    changes = stage.changes("grpo", 6, "braked", every=1)
    # Each rank judges 4 of the 8 general records: good before the first step and after it, lost from then on.
    drop = {"class_path": "tests.modules.replay.DroppingGeneral", "init_args": {"right": 8}}
    changes["tasks"]["custom"].append(drop)
    changes["trainer"]["callbacks"].append(
        {"class_path": "tests.modules.replay.RankWeights", "init_args": {"folder": str(stage.folder)}}
    )
    fit(stage, "grpo", "braked", 2, changes, returns=3)
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
