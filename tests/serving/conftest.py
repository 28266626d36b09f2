"""Three adapters of the tiny model that all do something else, of unlike shapes, and engines over them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.adapters.store import load_adapter, save_adapter
from qwen_lightning.commands.workbench import load_planner
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from qwen_lightning.rollout.base import Completion
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.serving.checking import AnswerChecker
from qwen_lightning.serving.engine.adapters import AdapterLibrary
from qwen_lightning.serving.engine.engine import Engine
from qwen_lightning.serving.http.api import HTTPSettings
from qwen_lightning.serving.limits import Limits
from qwen_lightning.serving.service import ChatService, RequestLimits
from qwen_lightning.tasks.registry import TaskRegistry
from tests.serving.live import Running, Serve, script
from tools.demo.tiny import TinyDemo

SHAPES = {
    "sql": LoRASettings(dropout=0.0),
    "fc": LoRASettings(r=4, alpha=16, dropout=0.0, target_modules=["q_proj", "k_proj", "v_proj"]),
    "slot": LoRASettings(r=8, alpha=8, dropout=0.0, target_modules=["o_proj", "gate_proj", "up_proj", "down_proj"]),
}

Alone = Callable[[str | None, list[int], int], Completion]
MakeEngine = Callable[..., Engine]


def write_adapters(
    backbone: Callable[[], PreTrainedModel], root: Path, shapes: dict[str, LoRASettings], base: str, quantization: str
) -> dict[str, PolicyModel]:
    """Adapter folders with random weights, each also on a backbone of its own."""
    policies = {}
    for seed, (name, lora) in enumerate(shapes.items()):
        torch.manual_seed(seed)
        policies[name] = model = PolicyModel(backbone(), lora)
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.2)
        manifest = Manifest(name=name, stage="sft", base_model=base, quantization=quantization)
        save_adapter(root / name, model.adapter_state(), lora, manifest)
    return policies


@pytest.fixture(scope="session")
def renderer(demo: TinyDemo) -> ChatRenderer:
    return ChatRenderer.from_pretrained(str(demo.base))


@pytest.fixture(scope="session")
def adapters(demo: TinyDemo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    write_adapters(lambda: load_backbone(str(demo.base), "none", "float32"), root, SHAPES, str(demo.base), "none")
    return root


@pytest.fixture(scope="session")
def prompts(demo: TinyDemo, renderer: ChatRenderer) -> list[list[int]]:
    tasks = TaskRegistry()
    records = [item.record for item in tasks.reader.read(demo.file("task_regression"))[::4]]
    records += [item.record for item in tasks.reader.read(demo.file("general_regression"))[:3]]
    found = [renderer.prompt_ids(tasks[record.task].prompt(record)) for record in records]
    assert len({len(ids) for ids in found}) > 3
    return found


@pytest.fixture(scope="session")
def alone(demo: TinyDemo, adapters: Path, renderer: ChatRenderer) -> Alone:
    """What transformers' `generate` completes greedily, one request at a time."""
    policies = {}
    for name, lora in SHAPES.items():
        backbone = load_backbone(str(demo.base), "none", "float32")
        policies[name] = PolicyModel(backbone, lora, load_adapter(adapters / name)[0])

    def complete(adapter: str | None, prompt: list[int], max_tokens: int) -> Completion:
        policy, engine = policies[adapter or "sql"], GenerateRollout()
        if adapter is None:
            with policy.bare():
                return engine.generate(policy, renderer, [prompt], 1, max_tokens, 0.0)[0][0]
        return engine.generate(policy, renderer, [prompt], 1, max_tokens, 0.0)[0][0]

    return complete


@pytest.fixture
def make_engine(demo: TinyDemo, adapters: Path, renderer: ChatRenderer) -> Iterator[MakeEngine]:
    """Engines over the three adapters, or over those in a folder; closed in the end."""
    made: list[Engine] = []

    def make(root: Path | None = None, eos_ids: list[int] | None = None, device: str = "cpu", **limits: int) -> Engine:
        backbone = load_backbone(str(demo.base), "none", "float32", device)
        library = AdapterLibrary.open(root or adapters)
        engine = Engine(backbone, library, renderer.eos_ids if eos_ids is None else eos_ids, Limits(**limits))
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


@pytest.fixture(scope="session")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config by which databases have one process each: its start, a Java machine's above all, is what takes time."""
    path = tmp_path_factory.mktemp("config") / "one_worker.yaml"
    executors = {"sql": "DuckDBExecutor", "cypher": "ArcadeDBExecutor"}
    tasks = {name: {"class_path": kind, "init_args": {"workers": 1}} for name, kind in executors.items()}
    path.write_text(json.dumps({"tasks": tasks}), encoding="utf-8")
    return path


@pytest.fixture
def serve(make_engine: MakeEngine, adapters: Path, renderer: ChatRenderer, one_worker: Path) -> Iterator[Serve]:
    """Servers over the three adapters; `says` scripts what the model says, in order, and leaves all else real."""
    made: list[Running] = []

    def start(
        says: list[str] | None = None,
        verify: bool = False,
        settings: HTTPSettings | None = None,
        asked: RequestLimits | None = None,
        grace: float = 0.0,
        databases: Path | None = None,
        **limits: int,
    ) -> Running:
        engine = make_engine(**limits)
        if says is not None:
            script(engine, renderer, says)
        planner = load_planner([] if databases is None else [one_worker], str(adapters), databases)
        service = ChatService(engine, planner, renderer, AnswerChecker(planner.tasks, verify), asked)
        made.append(Running(service, settings, grace))
        return made[-1]

    yield start
    for running in made:
        running.close()
