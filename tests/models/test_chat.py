"""Rendering with the tokenizer's own template: Qwen3's, a plain ChatML one, and one without a system turn."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from transformers import AutoTokenizer

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.records import RecordBase, RecordReader
from qwen_lightning.tasks.base import Prompt
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.tiny import TinyDemo

# As small instruct models have it: a system message of its own where none is given, and no tools.
PLAIN = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As Gemma has it: a system turn is refused, user and assistant must alternate.
STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {"qwen3": None, "plain": PLAIN, "strict": STRICT}
TOOL = {
    "type": "function",
    "function": {"name": "book_room", "description": "Books.", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module")
def qwen3(demo: TinyDemo) -> Any:
    return AutoTokenizer.from_pretrained(demo.base)


@pytest.fixture(scope="module")
def records(demo: TinyDemo) -> dict[str, RecordBase]:
    """A record of every task."""
    files = [demo.file(name) for name in ("task_sft", "general_sft", "persona_sft")]
    return {item.record.task: item.record for item in RecordReader().read_many(files)}


@pytest.fixture(params=TEMPLATES)
def renderer(request: pytest.FixtureRequest, qwen3: Any) -> ChatRenderer:
    tokenizer = copy.deepcopy(qwen3)
    tokenizer.chat_template = TEMPLATES[request.param] or qwen3.chat_template
    return ChatRenderer(tokenizer)


def rendered(renderer: ChatRenderer, messages: list[dict[str, str]], tools: list[dict] | None = None) -> list[int]:
    """What the tokenizer itself makes of a conversation."""
    return renderer.tokenizer.apply_chat_template(
        messages,
        tools=tools,
        tokenize=True,
        return_dict=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )


def test_prompt_is_the_tokenizers_own_rendering(qwen3: Any, records: dict[str, RecordBase]) -> None:
    renderer, tasks = ChatRenderer(qwen3), TaskRegistry()
    assert len(records) == 7
    for name, record in records.items():
        prompt = tasks[name].prompt(record)
        assert renderer.prompt_ids(prompt) == rendered(renderer, prompt.messages, prompt.tools or None), name


def test_completion_ends_with_the_templates_end_of_turn(renderer: ChatRenderer, records: dict[str, RecordBase]) -> None:
    tasks = TaskRegistry()
    end = renderer.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert renderer.eos_ids == [end]
    for name, record in records.items():
        task = tasks[name]
        example = renderer.example(task.prompt(record), task.target(record))
        assert example.prompt_ids == renderer.prompt_ids(task.prompt(record))
        assert example.completion_ids[-1] == end
        assert end not in example.completion_ids[:-1]
        assert renderer.decode([*example.completion_ids, *example.prompt_ids]) == task.target(record)


def test_whole_example_is_what_the_template_makes_of_an_answered_chat(renderer: ChatRenderer) -> None:
    question = [{"role": "user", "content": "Which rooms are free?"}]
    example = renderer.example(Prompt(question), "SELECT id FROM rooms")
    answered = [*question, {"role": "assistant", "content": "SELECT id FROM rooms"}]
    whole = renderer.tokenizer.apply_chat_template(answered, tokenize=False, enable_thinking=False)
    assert renderer.tokenizer.decode([*example.prompt_ids, *example.completion_ids]) == whole.removesuffix("\n")


def test_tools_and_rules_reach_every_template(renderer: ChatRenderer) -> None:
    messages = [{"role": "system", "content": "[TASK=FUNCTION_CALL]"}, {"role": "user", "content": "A room, please."}]
    for prompt in (Prompt(messages, [TOOL]), Prompt(messages[1:], [TOOL])):
        text = renderer.prompt_text(prompt)
        assert '"book_room"' in text
        assert "A room, please." in text
        assert ("[TASK=FUNCTION_CALL]" in text) == (len(prompt.messages) == 2)
    assert messages[1]["content"] == "A room, please."  # the record's own turns are not written to


def test_tag_comes_first_where_there_is_no_system_turn(qwen3: Any) -> None:
    tokenizer = copy.deepcopy(qwen3)
    tokenizer.chat_template = STRICT
    messages = [{"role": "system", "content": "[TASK=SLOT_JSON]\n{}"}, {"role": "user", "content": "Two nights."}]
    text = ChatRenderer(tokenizer).prompt_text(Prompt(messages))
    assert text == "<|im_start|>user\n[TASK=SLOT_JSON]\n{}\n\nTwo nights.<|im_end|>\n<|im_start|>assistant\n"


def test_a_tool_call_survives_decoding(renderer: ChatRenderer) -> None:
    call = "<tool_call>\n" + json.dumps({"name": "book_room", "arguments": {"guest": "李 Ada"}}, ensure_ascii=False)
    call += "\n</tool_call>"
    assert renderer.decode(renderer.example(Prompt([{"role": "user", "content": "?"}]), call).completion_ids) == call


def test_a_conversation_that_the_template_refuses_is_named(qwen3: Any) -> None:
    tokenizer = copy.deepcopy(qwen3)
    tokenizer.chat_template = STRICT
    messages = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Hi."}]
    with pytest.raises(ConfigError, match=r"refuses a conversation of assistant, user \(roles must alternate\)"):
        ChatRenderer(tokenizer).prompt_ids(Prompt(messages))


def test_a_tokenizer_without_template_is_refused(qwen3: Any) -> None:
    tokenizer = copy.deepcopy(qwen3)
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="has no chat template"):
        ChatRenderer(tokenizer)


def test_no_tokenizer_is_named(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="no tokenizer at"):
        ChatRenderer.from_pretrained(str(tmp_path))
