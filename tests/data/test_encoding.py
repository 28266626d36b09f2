"""Records become the renderer's ids, and none is ever cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qwen_lightning.data.encoding import (
    TokenRows,
    describe_too_long,
    encode_examples,
    encode_prompts,
    sequence_limits,
)
from qwen_lightning.errors import ConfigError, DataError
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.records import Located
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.tiny import TinyDemo

Make = Callable[..., dict[str, Any]]
Locate = Callable[..., list[Located]]
ALL = ["intent_rewrite", "slot_json", "function_call", "text2sql", "text2cypher", "general", "persona"]


@pytest.fixture(scope="module")
def renderer(demo: TinyDemo) -> ChatRenderer:
    return ChatRenderer.from_pretrained(str(demo.base))


def test_rows_come_back_as_they_went_in() -> None:
    rows = TokenRows()
    for row in ([1, 2, 3], [], [151_935]):
        rows.append(row)
    assert list(rows) == [[1, 2, 3], [], [151_935]]
    assert np.array_equal(rows.lengths, [3, 0, 1])
    with pytest.raises(IndexError):
        rows[3]


def test_examples_are_what_the_renderer_says(
    located: Locate, make: Make, registry: TaskRegistry, renderer: ChatRenderer
) -> None:
    # More than one chunk, so that ids cannot slip from one record to the next.
    items = located("all", [make(task, i) for i in range(200) for task in ALL])
    encoded = encode_examples(items, registry, renderer, sequence_limits(None, registry))
    assert encoded.records == [item.record for item in items]
    for i in (0, 5, 1023, 1024, 1399):
        task = registry[items[i].record.task]
        example = renderer.example(task.prompt(items[i].record), task.target(items[i].record))
        assert encoded.prompts[i] == example.prompt_ids
        assert encoded.completions[i] == example.completion_ids
        assert encoded.lengths[i] == len(example.prompt_ids) + len(example.completion_ids)


def test_a_record_at_its_limit_stays_and_one_beyond_it_is_named(
    located: Locate, make: Make, registry: TaskRegistry, renderer: ChatRenderer
) -> None:
    items = located("sql", [make("text2sql", 1), make("text2sql", 2, input="a question " * 50)])
    length = int(encode_examples(items[:1], registry, renderer, sequence_limits(None, registry)).lengths[0])
    encoded = encode_examples(items, registry, renderer, sequence_limits({"text2sql": length}, registry))
    assert [record.id for record in encoded.records] == ["text2sql-1"]
    (entry,) = encoded.too_long
    assert (entry.item.record.id, entry.limit) == ("text2sql-2", length)
    line = describe_too_long(encoded.too_long, 2)
    assert line.startswith("1 of 2 records are too long and left out: text2sql-2 (")
    assert f"sql.jsonl:2, {entry.length} > {length} tokens)" in line
    shorter = encode_examples(items, registry, renderer, sequence_limits({"text2sql": length - 1}, registry))
    assert len(shorter) == 0
    assert len(shorter.too_long) == 2


def test_ten_are_named_and_all_are_counted(
    located: Locate, make: Make, registry: TaskRegistry, renderer: ChatRenderer
) -> None:
    items = located("general", [make("general", i) for i in range(12)])
    encoded = encode_examples(items, registry, renderer, sequence_limits(1, registry))
    line = describe_too_long(encoded.too_long, 12)
    assert line.startswith("12 of 12 records")
    assert line.count("> 1 tokens") == 10
    assert "and 2 more" in line


def test_a_prompt_leaves_room_for_its_completion(
    located: Locate, make: Make, registry: TaskRegistry, renderer: ChatRenderer
) -> None:
    items = located("sql", [make("text2sql", 1)])
    prompt = renderer.prompt_ids(registry["text2sql"].prompt(items[0].record))
    limits = sequence_limits({"text2sql": len(prompt) + 20}, registry)
    fits = encode_prompts(items, registry, renderer, limits, 20)
    assert fits.prompts[0] == prompt
    assert fits.completions[0] == []
    (entry,) = encode_prompts(items, registry, renderer, limits, 21).too_long
    assert entry.length == len(prompt) + 21


def test_an_example_without_gold_is_a_fault_with_its_place(
    located: Locate, make: Make, registry: TaskRegistry, renderer: ChatRenderer
) -> None:
    items = located("general", [make("general", 0), make("general", 1, gold=None)])
    with pytest.raises(DataError, match=r"general.jsonl:2: general record 'general-1' has no gold"):
        encode_examples(items, registry, renderer, sequence_limits(None, registry))


def test_limits(registry: TaskRegistry) -> None:
    default = sequence_limits(None, registry)
    assert default["text2sql"] == default["text2cypher"] == 4096
    assert {default[name] for name in registry if name not in ("text2sql", "text2cypher")} == {2048}
    assert sequence_limits({"text2sql": 1000}, registry) == default | {"text2sql": 1000}
    assert set(sequence_limits(512, registry).values()) == {512}
    with pytest.raises(ConfigError, match="max_seq_len names the unknown task 'sql'"):
        sequence_limits({"sql": 1}, registry)
    with pytest.raises(ConfigError, match="max_seq_len of text2sql is 0"):
        sequence_limits({"text2sql": 0}, registry)
