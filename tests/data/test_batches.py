"""What the modules receive."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from qwen_lightning.data.batches import EvalLoader, GRPOBatchSource, PromptStep, SFTBatchSource
from qwen_lightning.data.encoding import encode_examples, encode_prompts, sequence_limits
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.records import Located
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.tiny import TinyDemo

Make = Callable[..., dict[str, Any]]
Locate = Callable[..., list[Located]]


@pytest.fixture(scope="module")
def renderer(demo: TinyDemo) -> ChatRenderer:
    return ChatRenderer.from_pretrained(str(demo.base))


def test_an_sft_batch_holds_records_and_their_ids(
    located: Locate, make: Make, registry: TaskRegistry, renderer: ChatRenderer
) -> None:
    items = located("mixed", [make("general", 0), make("text2sql", 1), make("function_call", 2)])
    encoded = encode_examples(items, registry, renderer, sequence_limits(None, registry))
    batch = SFTBatchSource(encoded)[[2, 0]]
    assert [record.task for record in batch.records] == ["function_call", "general"]
    assert batch.prompt_ids == [encoded.prompts[2], encoded.prompts[0]]
    assert batch.completion_ids == [encoded.completions[2], encoded.completions[0]]
    assert batch.lengths == encoded.lengths[[2, 0]].tolist()
    assert pickle.loads(pickle.dumps(batch)) == batch


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
