"""The SFT datamodule, from files to batches."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from qwen_lightning.data.batches import EvalBatch, SFTBatch
from qwen_lightning.data.sft import SFTDataModule
from qwen_lightning.errors import ConfigError, DataError
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.tiny import TinyDemo

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def files(demo: TinyDemo) -> dict[str, str]:
    names = ("task_sft", "general_sft", "general_regression", "task_regression")
    return {name: str(demo.file(name)) for name in names}


@pytest.fixture
def data(demo: TinyDemo, registry: TaskRegistry) -> SFTDataModule:
    return SFTDataModule(registry, str(demo.base), **files(demo), batch_size=4, epoch_size=100)


def test_an_epoch_of_the_demo_has_the_default_ratios(data: SFTDataModule, recwarn: pytest.WarningsRecorder) -> None:
    data.setup("fit")
    assert not [warning for warning in recwarn if issubclass(warning.category, UserWarning)]
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 25
    drawn = Counter(record.task for batch in batches for record in batch.records)
    assert drawn == {
        "intent_rewrite": 32,
        "slot_json": 25,
        "function_call": 20,
        "text2sql": 12,
        "text2cypher": 8,
        "general": 3,
    }
    assert data.too_long == []


def test_batches_are_the_seeds(demo: TinyDemo, registry: TaskRegistry) -> None:
    def ids(seed: int) -> list[list[str]]:
        data = SFTDataModule(registry, str(demo.base), **files(demo), batch_size=4, seed=seed)
        data.setup("fit")
        return [[record.id for record in batch.records] for batch in data.train_dataloader()]

    assert ids(0) == ids(0)
    assert ids(0) != ids(1)


def test_regression_records_and_hashes_are_there_for_the_callbacks(data: SFTDataModule, demo: TinyDemo) -> None:
    data.setup("fit")
    assert {record.task for record in data.general_regression_records} == {"general"}
    assert len(data.general_regression_records) == len(demo.file("general_regression").read_text().splitlines())
    assert len(data.task_regression_records) == len(demo.file("task_regression").read_text().splitlines())
    expected = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files(demo).values()}
    assert data.data_hashes == expected


def test_setup_twice_reads_and_encodes_once(data: SFTDataModule) -> None:
    data.setup("fit")
    encoded = data.encoded
    data.setup("fit")
    assert data.encoded is encoded


def test_regression_data_that_is_trained_on_is_refused(demo: TinyDemo, registry: TaskRegistry, tmp_path: Path) -> None:
    copy = tmp_path / "regression.jsonl"
    copy.write_text("\n" + demo.file("task_sft").read_text().splitlines()[4] + "\n")
    data = SFTDataModule(registry, str(demo.base), **files(demo) | {"task_regression": str(copy)})
    with pytest.raises(DataError, match=r"overlap in 1 pair of records: \S+task_sft.jsonl:5 = \S+regression.jsonl:2"):
        data.setup("fit")
    # Evaluating it is no harm.
    data.setup("validate")


def test_what_does_not_fit_is_named_once_and_left_out(
    demo: TinyDemo, registry: TaskRegistry, write: Write, make: Make
) -> None:
    task = write("task", [make("text2sql", 0), make("text2sql", 1, input="why " * 300)])
    data = SFTDataModule(registry, str(demo.base), task_sft=str(task), max_seq_len={"text2sql": 250})
    with pytest.warns(
        UserWarning, match=r"1 of 2 records are too long and left out: text2sql-1 \(\S+task.jsonl:2, \d+ > 250"
    ):
        data.setup("fit")
    assert [entry.item.record.id for entry in data.too_long] == ["text2sql-1"]
    (batch,) = data.train_dataloader()
    assert [record.id for record in batch.records] == ["text2sql-0"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.setup("fit")


def test_nothing_left_is_refused(demo: TinyDemo, registry: TaskRegistry, write: Write, make: Make) -> None:
    task = write("task", [make("text2sql", 0)])
    data = SFTDataModule(registry, str(demo.base), task_sft=str(task), max_seq_len=5)
    with pytest.raises(ConfigError, match="1 of 1 records are too long and left out: text2sql-0"):
        data.setup("fit")


def test_persona_is_a_stage_of_its_own(
    demo: TinyDemo, registry: TaskRegistry, write: Write, make: Make, recwarn: pytest.WarningsRecorder
) -> None:
    persona = str(write("persona", [make("persona", i) for i in range(5)]))
    for ratios in (None, {"persona": 1.0}):
        data = SFTDataModule(registry, str(demo.base), task_sft=persona, ratios=ratios, batch_size=5)
        data.setup("fit")
        (batch,) = data.train_dataloader()
        assert {record.task for record in batch.records} == {"persona"}
    assert not [warning for warning in recwarn if issubclass(warning.category, UserWarning)]
    mixed = SFTDataModule(registry, str(demo.base), task_sft=persona, general_sft=files(demo)["general_sft"])
    with pytest.raises(DataError, match=r"persona.jsonl:1: persona record beside other tasks"):
        mixed.setup("fit")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratios": {"sql": 1.0}}, "ratios name unknown tasks: sql"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"bucket_window": 0}, "bucket_window is 0"),
        ({"eval_batch_size": 0}, "eval_batch_size is 0"),
        ({"max_seq_len": {"sql": 1}}, "unknown task 'sql'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_at_once(
    registry: TaskRegistry, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        SFTDataModule(registry, "nowhere", **changes)


def test_empty_buckets_are_refused(registry: TaskRegistry, demo: TinyDemo) -> None:
    with pytest.raises(ConfigError, match="task_sft and general_sft are empty"):
        SFTDataModule(registry, str(demo.base)).setup("fit")
    data = SFTDataModule(registry, str(demo.base), **{key: value for key, value in files(demo).items() if "sft" in key})
    data.setup("validate")
    with pytest.raises(ConfigError, match="there is nothing to evaluate"):
        data.val_dataloader()


class Evaluated(pl.LightningModule):
    """Counts what each verb evaluates."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[str]] = {}

    def _note(self, batch: EvalBatch) -> None:
        self.seen.setdefault(self.trainer.state.fn.value, []).extend(record.id for record in batch.records)

    def training_step(self, batch: SFTBatch, batch_idx: int) -> torch.Tensor:
        return self.weight * len(batch.lengths)

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:
        self._note(batch)

    def test_step(self, batch: EvalBatch, batch_idx: int) -> None:
        self._note(batch)

    def predict_step(self, batch: EvalBatch, batch_idx: int) -> list[str]:
        self._note(batch)
        return [record.id for record in batch.records]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_each_verb_evaluates_its_own_files(
    demo: TinyDemo, registry: TaskRegistry, write: Write, make: Make, recwarn: pytest.WarningsRecorder
) -> None:
    test, predict = ([make("text2sql", i) for i in numbers] for numbers in ((1, 2, 3), (4,)))
    settings: dict[str, Any] = {
        **files(demo),
        "test": str(write("test", test)),
        "predict": str(write("predict", predict)),
    }

    def run(**changes: Any) -> dict[str, list[str]]:
        module = Evaluated()
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, max_steps=2, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        data = SFTDataModule(registry, str(demo.base), **{**settings, **changes}, epoch_size=40)
        for verb in (trainer.fit, trainer.validate, trainer.test, trainer.predict):
            verb(module, datamodule=data)
        return module.seen

    seen = run()
    assert not [warning for warning in recwarn if "Total length" in str(warning.message)]
    regression = [len(demo.file(name).read_text().splitlines()) for name in ("general_regression", "task_regression")]
    assert len(seen["validate"]) == len(set(seen["validate"])) == sum(regression)
    assert seen["test"] == ["text2sql-1", "text2sql-2", "text2sql-3"]
    assert seen["predict"] == ["text2sql-4"]
    assert "fit" not in seen
    assert run(predict=None)["predict"] == seen["test"]
    bare = run(predict=None, test=None)
    assert bare["test"] == bare["predict"] == seen["validate"]
