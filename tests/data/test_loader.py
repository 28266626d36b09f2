"""A resumed run sees the batches that were left, wherever it stopped, on one device and on two."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from qwen_lightning.data.base import RecordDataModule
from qwen_lightning.data.loader import ResumableLoader
from qwen_lightning.data.mixture import generator
from qwen_lightning.errors import ConfigError
from qwen_lightning.records import Located
from qwen_lightning.tasks.registry import TaskRegistry

pytestmark = pytest.mark.filterwarnings(
    "ignore:Checkpoint directory", "ignore:The dirpath has changed", "ignore:Using ModelCheckpoint with manual"
)
LENGTH = 6
SCRIPT = Path(__file__).with_name("ddp_fit.py")


class Doubler:
    """A batch is a tensor of its positions, doubled."""

    def __getitem__(self, item: list[int]) -> torch.Tensor:
        return 2 * torch.tensor(item)


def plan(epoch: int) -> list[list[int]]:
    """Six batches of two, in an order of the epoch's own, numbered so that no two epochs share any."""
    return (12 * epoch + generator("plan", epoch).permutation(12)).reshape(LENGTH, 2).tolist()


def loader(**options: Any) -> ResumableLoader[list[int], torch.Tensor]:
    return ResumableLoader(plan, LENGTH, Doubler(), {"seed": 0}, **options)


class Data(RecordDataModule):
    """The stream above, and nothing to evaluate."""

    def __init__(self, **options: Any) -> None:
        settings = dict.fromkeys(["general_regression", "task_regression", "test", "predict", "max_seq_len"])
        super().__init__(
            TaskRegistry(), "", **settings, eval_batch_size=1, seed=0, num_workers=0, tokenizer_revision=None
        )
        self.options = options

    def _read_training(self) -> list[Located]:
        return []

    def _encode_training(self) -> None:
        pass

    def _training_loader(self) -> ResumableLoader[list[int], torch.Tensor]:
        return loader(**self.options)


class Watcher(pl.LightningModule):
    """Trains a scalar, and remembers every batch and a random number drawn beside it."""

    def __init__(self, manual: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []
        self.automatic_optimization = not manual

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch.tolist())
        loss = (self.weight - batch.float().mean()) ** 2
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(
    folder: Path,
    resume: str | None = None,
    manual: bool = False,
    loader_options: dict[str, Any] | None = None,
    keep: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Watcher, pl.Trainer]:
    module = Watcher(manual)
    keep = keep or {"every_n_train_steps": 1}
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[ModelCheckpoint(folder, "{step}", save_top_k=-1, **keep)],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **{"max_epochs": -1, **options},
    )
    trainer.fit(module, datamodule=Data(**(loader_options or {})), ckpt_path=resume, weights_only=True)
    return module, trainer


def expected(steps: int) -> list[list[int]]:
    return [[2 * i for i in plan(step // LENGTH)[step % LENGTH]] for step in range(steps)]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("manual", [False, True])
def test_resumed_anywhere_the_rest_is_the_same(tmp_path: Path, manual: bool, workers: int) -> None:
    options = {"num_workers": workers}
    whole, trainer = fit(tmp_path / "whole", manual=manual, loader_options=options, max_steps=15)
    assert whole.seen == expected(15)
    at = (1, 5, 6, 7, 12) if not workers else (4, 6)
    for step in at:
        checkpoint = tmp_path / "whole" / f"step={step}.ckpt"
        rest, resumed = fit(tmp_path / "rest", str(checkpoint), manual, options, max_steps=15)
        assert rest.seen == whole.seen[step:]
        assert torch.equal(rest.weight, whole.weight)
        assert (resumed.global_step, resumed.current_epoch) == (trainer.global_step, trainer.current_epoch)


@pytest.mark.parametrize("steps", [4, 6, 9])
def test_a_run_that_ended_by_max_steps_goes_on(tmp_path: Path, steps: int) -> None:
    first, trainer = fit(tmp_path, max_steps=steps)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    second, _ = fit(tmp_path, str(tmp_path / "end.ckpt"), max_steps=2 * steps)
    assert first.seen + second.seen == expected(2 * steps)


def test_epochs_count_and_resume_by_epoch(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path / "whole", max_epochs=3)
    assert whole.seen == expected(18)
    first, trainer = fit(tmp_path / "first", max_epochs=1)
    trainer.save_checkpoint(tmp_path / "epoch.ckpt")
    rest, _ = fit(tmp_path / "rest", str(tmp_path / "epoch.ckpt"), max_epochs=3)
    assert first.seen + rest.seen == whole.seen


def test_an_epoch_that_the_trainer_cuts_short_goes_on_in_the_next_one(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path / "whole", max_steps=10, limit_train_batches=4)
    assert whole.seen == expected(10)
    for step in (3, 4, 8):
        checkpoint = tmp_path / "whole" / f"step={step}.ckpt"
        rest, _ = fit(tmp_path / "rest", str(checkpoint), max_steps=10, limit_train_batches=4)
        assert rest.seen == whole.seen[step:]


def test_a_loader_that_is_built_anew_goes_on(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path, max_steps=14, reload_dataloaders_every_n_epochs=1)
    assert whole.seen == expected(14)


def test_a_second_fit_begins_anew(tmp_path: Path) -> None:
    data = Data()
    for _ in range(2):
        module = Watcher()
        options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(accelerator="cpu", devices=1, max_steps=4, enable_model_summary=False, **options)
        trainer.fit(module, datamodule=data)
        assert module.seen == expected(4)


def test_a_checkpoint_at_the_epochs_end_goes_on_with_the_next(tmp_path: Path) -> None:
    options: dict[str, Any] = {"save_on_train_epoch_end": True, "every_n_epochs": 1}
    whole, _ = fit(tmp_path / "whole", max_steps=18, keep=options)
    assert whole.seen == expected(18)
    for step in (6, 12):
        rest, _ = fit(tmp_path / "rest", str(tmp_path / "whole" / f"step={step}.ckpt"), max_steps=18, keep=options)
        assert rest.seen == whole.seen[step:]


def test_the_loader_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(0)
    expected_number = torch.rand(())
    torch.manual_seed(0)
    list(loader())
    list(loader(num_workers=1))
    assert torch.equal(torch.rand(()), expected_number)


def test_the_state_counts_what_was_handed_out_not_what_workers_built_ahead() -> None:
    watched = loader(num_workers=1)
    assert watched.state_dict() == {"position": 0, "fingerprint": {"seed": 0}}
    batches = iter(watched)
    assert [next(batches).tolist() for _ in range(2)] == expected(2)
    assert watched.state_dict()["position"] == 2
    assert [batch.tolist() for batch in watched] == expected(2 + LENGTH)[2:]
    assert watched.state_dict()["position"] == 2 + LENGTH


def test_other_data_settings_are_refused_on_resume() -> None:
    state = loader().state_dict()
    other = ResumableLoader(plan, LENGTH, Doubler(), {"seed": 1, "devices": 2})
    with pytest.raises(ConfigError, match="seed was 0, is 1; devices was None, is 2"):
        other.load_state_dict(state)


def test_a_plan_that_changes_its_length_is_a_fault() -> None:
    with pytest.raises(RuntimeError, match="epoch 0 has 6 batches, not 5"):
        next(iter(ResumableLoader(plan, 5, Doubler(), {})))


def test_two_devices_see_disjoint_shards_and_resume(
    tmp_path: Path, write: Callable[..., Path], make: Callable[..., dict[str, Any]], demo: Any
) -> None:
    """Two gloo processes fit 2N steps, N steps, and the N after them, on SFT and on GRPO data."""
    files = {
        "task": write("task", (make("text2sql", i) for i in range(21))),
        "general": write("general", (make("general", i) for i in range(3))),
    }
    settings = {"tokenizer": str(demo.base), "out": str(tmp_path), **{name: str(path) for name, path in files.items()}}
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2"}
    root = Path(__file__).parents[2]
    runs = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(settings)],
            env=environment | {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "PYTHONPATH": str(root)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for run in runs:
        _, errors = run.communicate(timeout=300)
        assert run.returncode == 0, errors
    for kind in ("sft", "grpo"):
        ranks = [json.loads((tmp_path / f"{kind}-{rank}.json").read_text()) for rank in range(2)]
        for seen in ranks:
            assert seen["first"] + seen["rest"] == seen["whole"]
        a, b = (seen["whole"] for seen in ranks)
        assert [len(batch) for batch in a] == [len(batch) for batch in b]
        # 24 SFT examples in 6 steps of 4; 24 GRPO prompts in 6 steps of 4.
        for epoch in range(2):
            both = [name for batches in (a, b) for batch in batches[6 * epoch : 6 * epoch + 6] for name in batch]
            assert len(both) == 24
            if kind == "sft":
                assert len(set(both)) == 24
            else:
                assert set(both) == {f"text2sql-{i}" for i in range(21)}
        assert a[:6] != a[6:12]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
