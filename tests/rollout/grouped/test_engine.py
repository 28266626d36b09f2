"""Grouped decoding is `generate`, with a prompt computed once a group."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from qwen_lightning.rollout.base import Completion
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.rollout.grouped import engine as engine_module
from qwen_lightning.rollout.grouped import session as session_module
from qwen_lightning.rollout.grouped.engine import GroupedRollout
from qwen_lightning.rollout.packs import TokenSequence, sequence_logprobs
from tools.demo.tiny import TinyDemo

Prompts = list[list[int]]
Groups = list[list[Completion]]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture
def often_ending(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> ChatRenderer:
    """Tokens that this model says often end a turn, so that sequences end at unlike steps."""
    often = [group[0].ids for group in GenerateRollout().generate(policy, renderer, prompts, 1, 30, 0.0)]
    monkeypatch.setattr(renderer, "eos_ids", sorted({ids[len(ids) // 2] for ids in often[::2]}))
    return renderer


def assert_same(found: Groups, expected: Groups) -> None:
    for one, other in zip(found, expected, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert mine.ids == theirs.ids
            assert mine.truncated == theirs.truncated
            torch.testing.assert_close(mine.logprobs, theirs.logprobs, rtol=0, atol=1e-4)


def assert_the_trainers(policy: PolicyModel, prompts: Prompts, groups: Groups, temperature: float) -> None:
    sequences = [TokenSequence(p, c.ids) for p, group in zip(prompts, groups, strict=True) for c in group]
    own = sequence_logprobs(policy, sequences, 4096, temperature)
    for expected, completion in zip(own, (c for group in groups for c in group), strict=True):
        torch.testing.assert_close(completion.logprobs, expected.cpu(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weights", ["bf16", "nf4"])
@pytest.mark.parametrize("batch_size", [64, 3])
def test_greedy_is_generates_token_for_token(
    policy: PolicyModel, often_ending: ChatRenderer, prompts: Prompts, batch_size: int, weights: Any, device: str
) -> None:
    policy.to(device)
    expected = GenerateRollout().generate(policy, often_ending, prompts, 1, 30, 0.0)
    found = GroupedRollout(weights, batch_size).generate(policy, often_ending, prompts, 1, 30, 0.0)
    policy.to("cpu")
    assert len({len(group[0].ids) for group in expected}) > 3
    assert_same(found, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logprobs_are_the_trainers(
    policy: PolicyModel,
    renderer: ChatRenderer,
    prompts: Prompts,
    temperature: float,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renderer, "eos_ids", list(range(60)))
    policy.to(device)
    torch.manual_seed(1)
    groups = GroupedRollout(batch_size=40).generate(policy, renderer, prompts, 8, 40, temperature)
    assert_the_trainers(policy, prompts, groups, temperature)
    policy.to("cpu")
    completions = [completion for group in groups for completion in group]
    for completion in completions:
        assert all(token not in renderer.eos_ids for token in completion.ids[:-1])
        assert (completion.ids[-1] in renderer.eos_ids) != completion.truncated
        assert len(completion.ids) == 40 or not completion.truncated
    assert len({len(completion.ids) for completion in completions}) > 10
    assert len({tuple(completion.ids) for completion in completions}) > len(prompts)


def test_idle_rows_of_a_bucket_change_nothing(
    policy: PolicyModel, often_ending: ChatRenderer, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch sizes and rooms of a GPU, on whatever there is."""
    sizes = set()
    step = session_module.DecodingSession._step

    def counted(session: session_module.DecodingSession, rows: int, temperature: float) -> None:
        sizes.add(rows)
        step(session, rows, temperature)

    def bucketed(*args: Any, row_buckets: bool) -> session_module.DecodingSession:
        return session_module.DecodingSession(*args, row_buckets=True)

    monkeypatch.setattr(session_module.DecodingSession, "_step", counted)
    monkeypatch.setattr(engine_module, "DecodingSession", bucketed)
    expected = [group * 3 for group in GenerateRollout().generate(policy, often_ending, prompts, 1, 30, 0.0)]
    engine = GroupedRollout()
    engine.generate(policy, often_ending, prompts[:1], 40, 31, 0.0)  # leaves larger buffers than are needed, and full
    assert_same(engine.generate(policy, often_ending, prompts, 3, 30, 0.0), expected)
    assert {16, 32} < sizes <= {64, 32, 16, 8, 40}


def test_one_engine_follows_the_adapter(policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts) -> None:
    def check(engine: GroupedRollout) -> Groups:
        found = engine.generate(policy, renderer, prompts[:4], 1, 8, 0.0)
        assert_same(found, GenerateRollout().generate(policy, renderer, prompts[:4], 1, 8, 0.0))
        return found

    before = policy.adapter_state()
    before = {name: tensor.clone() for name, tensor in before.items()}
    for weights in ("bf16", "nf4"):
        engine = GroupedRollout(weights)  # type: ignore[arg-type]
        first = check(engine)
        with policy.bare():
            assert check(engine) != first
        optimizer = torch.optim.AdamW(policy.trainable(), lr=0.05)
        for parameter in policy.trainable():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        second = check(engine)
        with policy.reference():
            check(engine)
        policy.load_adapter(before)
        third = check(engine)
        assert [c[0].ids for c in third] == [c[0].ids for c in first]
        assert [c[0].ids for c in second] != [c[0].ids for c in first]


def test_a_group_beyond_the_limits_comes_in_parts(
    policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts
) -> None:
    tokens = len(prompts[0]) + 2 * 12
    torch.manual_seed(0)
    groups = GroupedRollout(batch_tokens=tokens).generate(policy, renderer, prompts[:2], 5, 12)
    assert [len(group) for group in groups] == [5, 5]
    assert_the_trainers(policy, prompts[:2], groups, 1.0)


def test_prompts_with_counts_of_their_own(policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts) -> None:
    counts = [4, 1, 4, 2]
    for engine in (GroupedRollout(), GenerateRollout()):
        groups = engine.sample(policy, renderer, prompts[:4], counts, 6)
        assert [len(group) for group in groups] == counts
        assert_the_trainers(policy, prompts[:4], groups, 1.0)


def test_a_seed_repeats_its_samples(policy: PolicyModel, renderer: ChatRenderer, prompts: Prompts) -> None:
    engine, found = GroupedRollout(), []
    for seed in (3, 4, 3):
        torch.manual_seed(seed)
        found.append([[c.ids for c in group] for group in engine.generate(policy, renderer, prompts[:3], 4, 10)])
    assert found[0] == found[2]
    assert found[0] != found[1]


@pytest.mark.parametrize("weights", ["bf16", "nf4"])
@pytest.mark.filterwarnings("ignore:GroupedRollout goes through `generate`")
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral"])
def test_other_architectures(architecture: str, weights: Any, renderer: ChatRenderer, prompts: Prompts) -> None:
    shape = {
        "vocab_size": len(renderer.tokenizer),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "eos_token_id": renderer.end_of_turn,
        "pad_token_id": renderer.pad_id,
    }
    torch.manual_seed(0)
    model = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**shape)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**shape)),  # through `generate`
    }[architecture]()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    policy = PolicyModel(model.requires_grad_(False).eval(), LoRASettings(dropout=0.0))
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    expected = GenerateRollout().generate(policy, renderer, prompts[:5], 1, 12, 0.0)
    assert_same(GroupedRollout(weights).generate(policy, renderer, prompts[:5], 1, 12, 0.0), expected)


@pytest.mark.parametrize("weights", ["auto", "nf4", "bf16"])
def test_on_quantised_weights(weights: Any, demo: TinyDemo, renderer: ChatRenderer, prompts: Prompts) -> None:
    policy = PolicyModel(load_backbone(str(demo.base), "nf4", "float32"), LoRASettings(dropout=0.0))
    torch.manual_seed(0)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    groups = GroupedRollout(weights).generate(policy, renderer, prompts[:4], 3, 12)
    assert_the_trainers(policy, prompts[:4], groups, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "fp8"}, "use auto, nf4 or bf16"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_tokens": 0}, "at least 1"),
        ({"reserve_gib": -1}, "at least 0"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GroupedRollout(**options)
