"""The GRPO datamodule: one task, one dialect, and a few general prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from qwen_lightning.data.grpo import GRPODataModule
from qwen_lightning.errors import ConfigError, DataError
from qwen_lightning.records import RecordBase
from qwen_lightning.tasks.base import Task
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.tiny import TinyDemo

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


class PlainRecord(RecordBase):
    """A record of a task of one's own."""

    task: Literal["plain"]


class Plain(Task[PlainRecord]):
    """A task that nobody can judge."""

    name = "plain"
    record_type = PlainRecord

    def tag(self, record: PlainRecord) -> None:
        return None

    def system(self, record: PlainRecord) -> str:
        return ""


def test_an_epoch_of_the_demo(demo: TinyDemo, registry: TaskRegistry) -> None:
    data = GRPODataModule(
        registry,
        str(demo.base),
        prompts=[str(demo.file("grpo_sql"))],
        general_prompts=str(demo.file("general_sft")),
        general_regression=str(demo.file("general_regression")),
        task_regression=str(demo.file("task_regression")),
        prompts_per_step=4,
    )
    data.setup("fit")
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader)
    task = [record for batch in batches for record in batch.task_records]
    general = [record for batch in batches for record in batch.general_records]
    assert {record.task for record in task} == {"text2sql"}
    assert {record.task for record in general} == {"general"}
    assert 0.01 <= len(general) / (len(general) + len(task)) <= 0.05
    for batch in batches:
        prompts = [registry[record.task].prompt(record) for record in batch.task_records]
        assert batch.task_prompt_ids == [data.renderer.prompt_ids(prompt) for prompt in prompts]
        assert len(batch.general_prompt_ids) == len(batch.general_records)
    assert data.transfer_batch_to_device(batches[0], torch.device("meta"), 0) is batches[0]
    assert set(data.data_hashes) == {
        str(demo.file(name)) for name in ("grpo_sql", "general_sft", "general_regression", "task_regression")
    }


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (("text2cypher", {}), r"prompts.jsonl:2: .*text2cypher"),
        (("text2sql", {"dialect": "mysql"}), r"prompts.jsonl:2: dialect mysql among postgres records"),
        (("persona", {}), r"prompts.jsonl:2: a persona record in GRPO data"),
        (("general", {}), r"prompts.jsonl:2: a general record does not belong in prompts; move it to general_prompts"),
    ],
)
def test_one_task_and_one_dialect(
    demo: TinyDemo, registry: TaskRegistry, write: Write, make: Make, second: tuple[str, dict[str, Any]], message: str
) -> None:
    task, changes = second
    prompts = write("prompts", [make("text2sql", 0), make(task, 1, **changes)])
    general = write("general", [make("general", 0)])
    data = GRPODataModule(registry, str(demo.base), prompts=str(prompts), general_prompts=str(general))
    with pytest.raises(DataError, match=message):
        data.setup("fit")


def test_general_prompts_are_general(demo: TinyDemo, registry: TaskRegistry, write: Write, make: Make) -> None:
    prompts = write("prompts", [make("text2sql", 0)])
    persona = write("general", [make("general", 0), make("persona", 0)])
    data = GRPODataModule(registry, str(demo.base), prompts=str(prompts), general_prompts=str(persona))
    with pytest.raises(
        DataError, match=r"general.jsonl:2: general_prompts takes general records only, this one is persona"
    ):
        data.setup("fit")


def test_a_task_without_verifier_cannot_be_trained(demo: TinyDemo, write: Write, make: Make) -> None:
    prompts = write("prompts", [{"id": "a", "task": "plain", "input": "question"}])
    general = write("general", [make("general", 0)])
    data = GRPODataModule(
        TaskRegistry(custom=[Plain()]), str(demo.base), prompts=str(prompts), general_prompts=str(general)
    )
    with pytest.raises(DataError, match=r"prompts.jsonl:1: plain has no verifier, so GRPO cannot train on it"):
        data.setup("fit")


def test_prompts_that_overlap_with_regression_data_are_refused(
    demo: TinyDemo, registry: TaskRegistry, write: Write, make: Make
) -> None:
    data = GRPODataModule(
        registry,
        str(demo.base),
        prompts=str(write("prompts", [make("text2sql", 0), make("text2sql", 1)])),
        general_prompts=str(write("general", [make("general", 0)])),
        general_regression=str(write("held_general", [make("general", 0)])),
        task_regression=str(write("held_task", [make("text2sql", 1, gold="SELECT 1")])),
    )
    with pytest.raises(DataError, match="overlap in 2 pairs"):
        data.setup("fit")


def test_a_prompt_without_room_is_left_out(demo: TinyDemo, registry: TaskRegistry, write: Write, make: Make) -> None:
    prompts = write("prompts", [make("text2sql", 0), make("text2sql", 1, input="why " * 300)])
    general = write("general", [make("general", 0)])
    data = GRPODataModule(
        registry,
        str(demo.base),
        prompts=str(prompts),
        general_prompts=str(general),
        max_seq_len=250,
        max_completion_length=100,
    )
    with pytest.warns(UserWarning, match=r"prompts: 1 of 2 records are too long and left out: text2sql-1"):
        data.setup("fit")
    assert {record.id for batch in data.train_dataloader() for record in batch.task_records} == {"text2sql-0"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general_ratio": 0.06}, "general_ratio is 0.06"),
        ({"general_ratio": 0.0}, "general_ratio is 0.0"),
        ({"max_completion_length": 0}, "max_completion_length is 0"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_at_once(
    registry: TaskRegistry, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        GRPODataModule(registry, "nowhere", **changes)


@pytest.mark.parametrize("missing", ["prompts", "general_prompts"])
def test_both_kinds_of_prompts_are_needed(
    demo: TinyDemo, registry: TaskRegistry, write: Write, make: Make, missing: str
) -> None:
    paths = {
        "prompts": str(write("prompts", [make("text2sql", 0)])),
        "general_prompts": str(write("general", [make("general", 0)])),
    }
    data = GRPODataModule(registry, str(demo.base), **paths | {missing: None})
    with pytest.raises(ConfigError, match=f"{missing} is empty"):
        data.setup("fit")
