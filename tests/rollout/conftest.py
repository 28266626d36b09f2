"""A tiny policy in fp32, and prompts of unlike lengths."""

from __future__ import annotations

import pytest
import torch

from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from qwen_lightning.tasks.registry import TaskRegistry
from tools.demo.tiny import TinyDemo


@pytest.fixture(scope="session")
def renderer(demo: TinyDemo) -> ChatRenderer:
    return ChatRenderer.from_pretrained(str(demo.base))


@pytest.fixture(scope="session")
def policy(demo: TinyDemo) -> PolicyModel:
    """An adapter that does something, and a reference that is the same."""
    torch.manual_seed(0)
    model = PolicyModel(load_backbone(str(demo.base), "none", "float32"), LoRASettings(dropout=0.0))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    start = {name: tensor.clone() for name, tensor in model.adapter_state().items()}
    return PolicyModel(
        load_backbone(str(demo.base), "none", "float32"), LoRASettings(dropout=0.0), start, with_reference=True
    )


@pytest.fixture(scope="session")
def prompts(demo: TinyDemo, renderer: ChatRenderer) -> list[list[int]]:
    tasks = TaskRegistry()
    records = [item.record for item in tasks.reader.read(demo.file("task_regression"))[::4]]
    records += [item.record for item in tasks.reader.read(demo.file("general_regression"))[:3]]
    found = [renderer.prompt_ids(tasks[record.task].prompt(record)) for record in records]
    assert len({len(ids) for ids in found}) > 3
    return found
