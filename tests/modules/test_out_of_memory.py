"""A step for which memory is short makes room, begins again as it was, and says what to lower where nothing helps."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from qwen_lightning.__main__ import main
from qwen_lightning.errors import ConfigError
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.checkpointing import Checkpointing, CheckpointingMode, decoder_layers
from qwen_lightning.modules.out_of_memory import StepMemory
from tests.conftest import Stage
from tests.modules.replay import SaysWhenItReleases
from tools.demo.tiny import TinyDemo

AGAIN = "ignore:out of GPU memory.*the step begins again"


def fit(stage: Stage, run: str, kind: str, mode: bool | str, steps: int = 1) -> int:
    """A run of one of `replay`'s modules, with dropout; all ranks' adapters are written after each step."""
    changes = stage.changes("sft", steps, run)
    settings = {"lora": {"dropout": 0.05}, "micro_batch_tokens": 400, "gradient_checkpointing": mode}
    engine = {"class_path": "tests.modules.replay.SaysWhenItReleases"}
    changes["model"]["init_args"] |= settings | {"rollout": engine}
    changes["model"]["class_path"] = kind if kind == "SFTModule" else f"tests.modules.replay.{kind}"
    changes["trainer"]["callbacks"] = [
        {"class_path": "tests.modules.replay.RankWeights", "init_args": {"folder": str(stage.folder / run)}}
    ]
    (stage.folder / run).mkdir()
    return main(["fit", "-c", "configs/sft.yaml", "-c", stage.overlay(run, changes)])


def after_first_step(stage: Stage, run: str) -> dict[str, Tensor]:
    return torch.load(stage.folder / run / "rank0-step1.pt", weights_only=False)["adapter"]


def assert_same_first_step(stage: Stage, one: str, other: str) -> None:
    found, expected = after_first_step(stage, one), after_first_step(stage, other)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_out_of_memory_once_the_step_begins_again_with_all_layers_recomputed(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(stage, "plain", "SFTModule", True) == 0
    for kind in ("ShortOfMemory", "ShortWhenMeasured"):
        with pytest.warns(UserWarning, match="the step begins again") as said:
            assert fit(stage, kind, kind, "auto") == 0
        lines = [str(warning.message) for warning in said if "the step begins again" in str(warning.message)]
        assert len(lines) == 2
        assert "gave its buffers back" in lines[0]
        assert "from now on all layers are recomputed" in lines[1]
        assert_same_first_step(stage, kind, "plain")
    assert capsys.readouterr().out.count("released") == 2 + 3  # closing, too
    with pytest.warns(UserWarning, match="gave its buffers back"):
        assert fit(stage, "never", "ShortOfMemory", False) == 2
    assert "lower model.micro_batch_tokens (400)" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_plan_of_some_layers_changes_no_step_and_the_engine_makes_room(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(stage, "free", "SFTModule", False) == 0
    capsys.readouterr()
    assert fit(stage, "planned", "OneLayerFits", "auto", steps=3) == 0
    out = capsys.readouterr().out
    assert "gradient_checkpointing: 1 of 2 layers are recomputed" in out
    assert out.count("released") == 2 + 1  # from the second step on, and in the end
    assert_same_first_step(stage, "planned", "free")


def step_memory(demo: TinyDemo, mode: CheckpointingMode) -> StepMemory:
    model = load_backbone(str(demo.base), "none", "float32")
    return StepMemory(Checkpointing(model, mode, 400, head_rows=8), SaysWhenItReleases(), tokens=300)


class Failing:
    """Draws random numbers, and is out of memory the first `times` times."""

    def __init__(self, times: int) -> None:
        self.left, self.drawn = times, list[float]()

    def __call__(self) -> str:
        self.drawn.append(torch.rand(()).item())
        if self.left:
            self.left -= 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return "done"


@pytest.mark.filterwarnings(AGAIN)
@pytest.mark.parametrize(("mode", "remedies", "recomputed"), [("auto", 2, 2), (False, 1, 0), (True, 1, 2)])
def test_as_often_as_there_is_more_memory(
    demo: TinyDemo, capsys: pytest.CaptureFixture[str], mode: CheckpointingMode, remedies: int, recomputed: int
) -> None:
    memory, work = step_memory(demo, mode), Failing(remedies)
    assert memory.within(work) == "done"
    assert memory.checkpointing.recomputed == recomputed
    layers = decoder_layers(memory.checkpointing.model)
    assert sum(layer.gradient_checkpointing for layer in layers) == recomputed
    assert len(work.drawn) == remedies + 1
    assert len(set(work.drawn)) == 1  # dropout draws as it did
    with pytest.raises(ConfigError, match=rf"pack of 300 tokens, {recomputed} layers .*micro_batch_tokens \(400\)"):
        step_memory(demo, mode).within(Failing(remedies + 1))
    assert capsys.readouterr().out.count("released") == 2


def test_what_may_not_be_done_again_is_done_once(demo: TinyDemo, capsys: pytest.CaptureFixture[str]) -> None:
    memory, work = step_memory(demo, "auto"), Failing(1)
    with pytest.raises(ConfigError, match="out of GPU memory") as refused:
        memory.within(work, again=False)
    assert isinstance(refused.value.__cause__, torch.OutOfMemoryError)
    assert len(work.drawn) == 1
    assert memory.checkpointing.recomputed == 0
    assert not capsys.readouterr().out


def test_another_fault_is_not_retried(demo: TinyDemo) -> None:
    calls = []

    def work() -> None:
        calls.append(1)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        step_memory(demo, "auto").within(work)
    assert len(calls) == 1


@pytest.mark.filterwarnings(AGAIN)
def test_what_the_failed_pass_held_is_gone_before_the_next(demo: TinyDemo) -> None:
    held: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []

    def work() -> None:
        alive.extend(reference() is not None for reference in held)
        kept: list[Any] = [torch.ones(8)]
        kept.append(kept)  # a cycle, as autograd's hooks make them
        held.append(weakref.ref(kept[0]))
        if len(held) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    gc.disable()
    try:
        step_memory(demo, "auto").within(work)
    finally:
        gc.enable()
    assert alive == [False]
