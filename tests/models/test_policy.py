"""Policy and reference on one backbone: where they start, what training moves, and what peft makes of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from qwen_lightning.adapters.store import load_adapter
from qwen_lightning.errors import AdapterError, ConfigError
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.policy import REFERENCE, LoRASettings, PolicyModel
from qwen_lightning.rollout.packs import TokenSequence, build_packs, completion_logprobs
from tests.conftest import Stage
from tools.demo.tiny import TinyDemo

QUANTIZATIONS = ("none", "nf4")
IDS = torch.arange(40, 72).reshape(2, 16)
MASK = torch.ones_like(IDS)


def policy_of(demo: TinyDemo, quantization: str = "none", **options: Any) -> PolicyModel:
    backbone = load_backbone(str(demo.base), quantization, "float32")  # type: ignore[arg-type]
    return PolicyModel(backbone, options.pop("lora", LoRASettings()), **options)


def logits(policy: PolicyModel) -> Tensor:
    with policy.evaluating():
        return policy.head(policy.hidden_states(IDS, MASK))


def step(policy: PolicyModel, rate: float = 1e-2) -> None:
    """One optimizer step that makes the ids likelier."""
    optimizer = torch.optim.AdamW(policy.trainable(), lr=rate)
    packs = build_packs([TokenSequence([40, 41], [50, 60, 70])], [0], 64, policy.device)
    (-completion_logprobs(policy, packs[0], 1.0)[0].sum()).backward()
    optimizer.step()


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_a_new_policy_is_the_bare_base(demo: TinyDemo, quantization: str) -> None:
    bare = load_backbone(str(demo.base), quantization, "float32")  # type: ignore[arg-type]
    with torch.no_grad():
        expected = bare(input_ids=IDS, attention_mask=MASK).logits
    policy = policy_of(demo, quantization)
    assert torch.equal(logits(policy), expected)
    step(policy)
    assert not torch.equal(logits(policy), expected)
    with policy.bare():
        assert torch.equal(logits(policy), expected)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_reference_starts_as_the_policy_and_stays(demo: TinyDemo, trained: Stage, quantization: str) -> None:
    state, lora, _ = load_adapter(trained.folder / "adapters" / "base-sft")
    policy = policy_of(demo, quantization, lora=lora, start=state, with_reference=True).train()
    assert all(torch.equal(tensor, state[name]) for name, tensor in policy.adapter_state().items())
    start = logits(policy)
    with policy.bare():
        assert not torch.equal(logits(policy), start)  # the adapter does something
    with policy.reference():
        assert torch.equal(logits(policy), start)
    step(policy)
    assert not torch.equal(logits(policy), start)
    with policy.reference():
        assert torch.equal(logits(policy), start)
    assert all(torch.equal(tensor, state[name]) for name, tensor in policy.adapter_state(REFERENCE).items())


def test_the_policy_alone_is_trainable(demo: TinyDemo) -> None:
    policy = policy_of(demo, with_reference=True)
    with policy.reference():
        pass  # a round through the reference must not leave its weights trainable, nor the policy's frozen
    trainable = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, _ in policy.named_parameters() if ".policy." in name}
    assert len(policy.trainable()) == len(trainable) == 2 * 3 * 2  # layers x (q, v, o) x (A, B)
    assert {parameter.dtype for parameter in policy.trainable()} == {torch.float32}


def test_reference_is_left_when_its_computation_fails(demo: TinyDemo) -> None:
    policy = policy_of(demo, with_reference=True)
    step(policy)
    expected = logits(policy)
    with pytest.raises(RuntimeError), policy.reference():
        raise RuntimeError
    assert torch.equal(logits(policy), expected)


def test_evaluating_gives_the_mode_back(demo: TinyDemo) -> None:
    policy = policy_of(demo, lora=LoRASettings(dropout=0.5)).train()
    step(policy)
    assert torch.equal(logits(policy), logits(policy))  # no dropout within
    assert policy.training
    assert any(isinstance(module, nn.Dropout) and module.training for module in policy.modules())


def test_plain_peft_gives_the_same_logits(demo: TinyDemo, trained: Stage) -> None:
    folder = trained.folder / "adapters" / "base-sft"
    state, lora, _ = load_adapter(folder)
    ours = logits(policy_of(demo, lora=lora, start=state))
    base = AutoModelForCausalLM.from_pretrained(demo.base, dtype=torch.float32)
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(base, folder).eval()(input_ids=IDS, attention_mask=MASK).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_an_adapter_of_another_shape_is_refused(demo: TinyDemo, trained: Stage) -> None:
    state, lora, _ = load_adapter(trained.folder / "adapters" / "base-sft")
    policy = policy_of(demo, lora=lora)
    name = next(iter(state))
    with pytest.raises(AdapterError, match=f"missing .*{name}.*check target_modules and the model"):
        policy.load_adapter({key: tensor for key, tensor in state.items() if key != name})
    with pytest.raises(AdapterError, match=r"check r and the model"):
        policy.load_adapter({key: tensor[:, :1] for key, tensor in state.items()})


def test_target_modules_that_the_backbone_lacks_are_named(demo: TinyDemo) -> None:
    with pytest.raises(ConfigError, match=r"lora.target_modules \['query'\]"):
        policy_of(demo, lora=LoRASettings(target_modules=["query"]))


def test_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model at"):
        load_backbone(str(tmp_path), "none", "float32")
