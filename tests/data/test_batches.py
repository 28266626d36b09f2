"""What the modules receive."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from qwen_lightning.data.batches import EvalLoader, GRPOBatchSource, PromptStep, SFTBatchSource
from qwen_lightning.data.encoding import Encoded, encode_examples, encode_prompts, sequence_limits
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.records import Located
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.tiny import TinyDemo

Make = Callable[..., dict[str, Any]]
Locate = Callable[..., list[Located]]


@pytest.fixture(scope="module")
def renderer(demo: TinyDemo) -> ChatRenderer:
    return ChatRenderer.from_pretrained(str(demo.base))


def test_rows_are_padded_on_the_right_and_only_completions_have_labels(
    located: Locate, make: Make, registry: TaskRegistry, renderer: ChatRenderer
) -> None:
    items = located("mixed", [make("general", 0), make("text2sql", 1), make("function_call", 2)])
    encoded = encode_examples(items, registry, renderer, sequence_limits(None, registry))
    batch = SFTBatchSource(encoded, renderer.pad_id)[[2, 0]]
    width = batch["input_ids"].shape[1]
    assert width % 8 == 0
    assert width - max(encoded.lengths[[2, 0]]) < 8
    for row, i in enumerate([2, 0]):
        prompt, completion = encoded.prompts[i], encoded.completions[i]
        blank = width - len(prompt) - len(completion)
        assert batch["input_ids"][row].tolist() == prompt + completion + [renderer.pad_id] * blank
        assert batch["labels"][row].tolist() == [-100] * len(prompt) + completion + [-100] * blank
        assert batch["attention_mask"][row].tolist() == [1] * (width - blank) + [0] * blank
    assert {batch[name].dtype for name in ("input_ids", "labels", "attention_mask")} == {torch.int64}
    assert [record.task for record in batch["records"]] == ["function_call", "general"]
    assert batch["lengths"] == batch["attention_mask"].sum(1).tolist()
    assert batch["tokens"] == int(batch["attention_mask"].sum())


def test_a_width_that_is_a_multiple_of_eight_is_not_padded(renderer: ChatRenderer) -> None:
    encoded = Encoded()
    encoded.prompts.append([1] * 10)
    encoded.completions.append([2] * 6)
    encoded.records.append(None)  # type: ignore[arg-type]
    assert SFTBatchSource(encoded, renderer.pad_id)[[0]]["input_ids"].shape == (1, 16)


def test_a_grpo_batch_holds_records_and_their_prompts(
    located: Locate, make: Make, registry: TaskRegistry, renderer: ChatRenderer
) -> None:
    task, general = (
        encode_prompts(
            located(name, [make(name, i) for i in range(3)]), registry, renderer, sequence_limits(None, registry), 8
        )
        for name in ("text2sql", "general")
    )
    batch = GRPOBatchSource(task, general)[PromptStep([2, 0], [1])]
    assert [record.id for record in batch.task_records] == ["text2sql-2", "text2sql-0"]
    assert [record.id for record in batch.general_records] == ["general-1"]
    assert batch.task_prompt_ids == [task.prompts[2], task.prompts[0]]
    assert batch.general_prompt_ids == [general.prompts[1]]
    assert pickle.loads(pickle.dumps(batch)) == batch


def test_evaluation_gives_each_rank_its_share_and_no_record_twice(located: Locate, make: Make) -> None:
    records = [item.record for item in located("sql", [make("text2sql", i) for i in range(7)])]
    loaders = [EvalLoader(records, 2, rank, 3) for rank in range(3)]
    batches = [list(loader) for loader in loaders]
    assert [len(loader) for loader in loaders] == [len(part) for part in batches] == [2, 1, 1]
    ids = [[record.id for batch in part for record in batch.records] for part in batches]
    assert ids[0] == ["text2sql-0", "text2sql-3", "text2sql-6"]
    assert sorted(name for part in ids for name in part) == [record.id for record in records]
