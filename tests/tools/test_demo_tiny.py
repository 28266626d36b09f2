"""The tiny demo is a checkpoint that transformers loads, with a tokenizer that speaks the language."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.checkpoint import render
from tools.demo.tiny import TinyDemo, make_tiny

CALL = {"type": "function", "function": {"name": "find", "arguments": {"city": "rome"}}}
MESSAGES = [
    {"role": "system", "content": "rules"},
    {"role": "user", "content": "question"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "one"},
    {"role": "tool", "content": "two"},
]
RENDERED = """\
<|im_start|>system
rules

<tools>
{"type": "function", "function": {"name": "find"}}
</tools><|im_end|>
<|im_start|>user
question<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "find", "arguments": {"city": "rome"}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
one
</tool_response>
<tool_response>
two
</tool_response><|im_end|>
<|im_start|>assistant
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyDemo:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def test_chat_template_has_qwens_features(tiny: TinyDemo) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny.base)
    tools = [{"type": "function", "function": {"name": "find"}}]
    options = {"tools": tools, "tokenize": False, "add_generation_prompt": True}
    assert tokenizer.apply_chat_template(MESSAGES, **options) == RENDERED
    assert (
        tokenizer.apply_chat_template(MESSAGES, enable_thinking=False, **options)
        == RENDERED + "<think>\n\n</think>\n\n"
    )


def test_an_answer_follows_the_prompt_in_the_rendered_chat(tiny: TinyDemo) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny.base)
    tasks = TaskRegistry()
    for located in tasks.reader.read(tiny.file("task_sft")):
        task = tasks[located.record.task]
        prompt, target = task.prompt(located.record), task.target(located.record)
        whole = [*prompt.messages, {"role": "assistant", "content": target}]
        rendered = tokenizer.apply_chat_template(whole, tools=prompt.tools or None, tokenize=False)
        assert rendered == render(tokenizer, prompt) + target + "<|im_end|>\n"
        assert tokenizer.decode(tokenizer(rendered)["input_ids"]) == rendered
    tasks.close()


def test_model_computes(tiny: TinyDemo) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny.base)
    assert model.config.model_type == "qwen3"
    logits = model(torch.arange(10)[None]).logits
    assert logits.isfinite().all()
    assert logits.shape == (1, 10, model.config.vocab_size)


def test_seed_decides_the_weights_and_the_callers_random_state_stays(tiny: TinyDemo, tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    again = make_tiny(tmp_path / "again")
    assert torch.equal(torch.rand(3), expected)
    assert (again.base / "model.safetensors").read_bytes() == (tiny.base / "model.safetensors").read_bytes()
    assert (make_tiny(tmp_path / "other", 1).base / "model.safetensors").read_bytes() != (
        tiny.base / "model.safetensors"
    ).read_bytes()
