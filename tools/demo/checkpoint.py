"""Tokenizer and architecture of the demo's small Qwen3, saved as a normal checkpoint folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from qwen_lightning.records import RecordReader
from qwen_lightning.tasks.base import Prompt
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.exercises import EXERCISES, Fields
from tools.demo.graphs import make_graph
from tools.demo.language import make_database
from tools.demo.lessons import record_makers
from tools.demo.make_data import general_record, persona_record, sql_record
from tools.demo.talk import FACTS, instruction

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
ADDED = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
# ChatML with Qwen3's features: tools in the system message, tool results in a user turn, an empty think block
# where thinking is off.
CHAT_TEMPLATE = """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' %}
{%- if system or tools %}
    {{- '<|im_start|>system\\n' + system }}
    {%- if tools %}
        {{- ('\\n\\n' if system else '') + '<tools>' }}
        {%- for tool in tools %}
            {{- '\\n' + (tool | tojson) }}
        {%- endfor %}
        {{- '\\n</tools>' }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- elif message.role != 'system' or not loop.first %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- if message.role == 'assistant' and loop.last %}
            {{- '<think>\\n\\n</think>\\n\\n' }}
        {%- endif %}
        {{- message.content or '' }}
        {%- for call in message.tool_calls or [] %}
            {%- set function = call.function or call %}
            {{- ('\\n' if message.content or not loop.first else '') + '<tool_call>\\n' }}
            {{- '{"name": "' + function.name + '", "arguments": ' }}
            {{- function.arguments if function.arguments is string else function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
# Qwen's pre-tokenizer: contractions, words, single digits, punctuation, line ends, spaces.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, chat_template=CHAT_TEMPLATE, model_max_length=1024
    )


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with Qwen's pre-tokenizer, special tokens and chat format."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(list(ADDED))
    return _wrap(tokenizer)


def corpus(random: Random, count: int, every_task: bool = False) -> list[str]:
    """`count` chats of each kind, rendered as training renders them, for the tokenizer to learn from.

    With `every_task` each task's are its lessons, on settings of their own.
    """
    tasks, reader, blank = TaskRegistry(), RecordReader(), _wrap(Tokenizer(models.BPE()))
    lessons = record_makers([make_graph(random) for _ in range(count)]) if every_task else {}
    makers: list[Any] = [
        *(EXERCISES | lessons).values(),
        lambda draw: sql_record(make_database(draw), draw),
        lambda draw: general_record(draw.choice(FACTS)),
        lambda draw: general_record(instruction(draw)),
        lambda draw: persona_record(draw.choice(FACTS)),
    ]
    texts = []
    for make in makers:
        for index in range(count):
            fields: Fields = make(random)
            record = reader.parse({"id": str(index), **fields})
            task = tasks[record.task]
            text = render(blank, task.prompt(record)) + task.target(record)
            texts += [part for part in text.replace(START, END).split(END) if part]
    tasks.close()
    return texts


def render(tokenizer: Any, prompt: Prompt) -> str:
    """Prompt text up to and including the assistant's header, thinking off."""
    return tokenizer.apply_chat_template(
        prompt.messages, tools=prompt.tools or None, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )


def make_model(tokenizer: PreTrainedTokenizerFast, hidden: int, layers: int) -> Qwen3ForCausalLM:
    """A small Qwen3 with random weights; heads of 32 dimensions, two query heads a key-value head, tied embeddings."""
    heads = hidden // 32
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=32,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        initializer_range=0.05,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write model and tokenizer as a checkpoint folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
