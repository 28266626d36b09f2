"""A made-up drop climbs the ladder, and every action says value, bound and reason."""

from __future__ import annotations

import logging
import shutil

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qwen_lightning.__main__ import main
from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.adapters.store import load_adapter
from tests.conftest import Stage

LINES = [{"metric": "general/all", "max_drop": 0.03}]
GENERAL_RECORDS = 8  # of the tiny demo: the baseline's verdicts


@pytest.fixture
def dropping(trained: Stage, stage: Stage) -> Stage:
    shutil.copytree(trained.folder / "adapters", stage.folder / "adapters")
    return stage


def run(stage: Stage, kind: str, steps: int, name: str, right: int, *more: str) -> int:
    changes = stage.changes(kind, steps, name, every=1, lines=LINES)
    task = {"class_path": "tests.modules.replay.DroppingGeneral", "init_args": {"right": right}}
    changes["tasks"]["custom"] = [*changes["tasks"].get("custom", []), task]
    config = "configs/sft.yaml" if kind == "sft" else "configs/grpo_sql.yaml"
    return main(["fit", "-c", config, "-c", stage.overlay(name, changes), *more])


def test_kl_up_then_lr_down_then_stop(
    dropping: Stage, scalars, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "qwen_lightning"):
        assert run(dropping, "grpo", 12, "braked", GENERAL_RECORDS) == 3
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("red line: general/all went from 1.000 to 0.000")
    assert "bound 0.970" in last

    values = scalars(dropping.log_dir("braked"))
    # The drop shows at the first evaluation; each further step waits for two fresh ones.
    assert values["brake/kl_factor"] == [2.0, 2.0, 2.0, 2.0, 2.0]
    assert values["brake/lr_factor"] == [1.0, 1.0, 0.5, 0.5, 0.5]
    assert values["brake/level"] == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert values["train/beta"] == pytest.approx([0.04, 0.08, 0.08, 0.08, 0.08])
    assert values["train/beta_brake"] == [1.0, 2.0, 2.0, 2.0, 2.0]
    assert values["brake/general/all"][0] == pytest.approx(0.5)  # with the baseline, over two evaluations
    assert values["brake/general/all/bound"] == pytest.approx([0.97] * 5)
    warm = 11  # warmup_steps + 1: the schedule would give step / 11 of the peak
    assert values["train/lr"] == pytest.approx([1e-3 * (k + 1) / warm * f for k, f in enumerate([1, 1, 1, 0.5, 0.5])])

    events = EventAccumulator(str(dropping.log_dir("braked")), size_guidance={"tensors": 0})
    events.Reload()
    texts = [event.tensor_proto.string_val[0].decode() for event in events.Tensors("brake/text_summary")]
    assert [text.split(":")[1].split("(")[0].strip() for text in texts] == ["raise kl", "lower lr", "stop"]
    for text in texts:
        assert text in caplog.text
        assert "bound 0.970" in text
        assert "got worse: general_regression" in text

    manifest = Manifest.read(dropping.folder / "adapters" / "sql")
    assert [action["kind"] for action in manifest.red_lines] == ["raise_kl", "lower_lr", "stop"]
    assert manifest.steps == 0
    assert manifest.metrics_after["general/all"] == 1.0
    kept, start = (load_adapter(dropping.folder / "adapters" / name)[0] for name in ("sql", "base-sft"))
    assert all(torch.equal(kept[key], start[key]) for key in start)


def test_sft_has_no_kl_and_starts_at_the_learning_rate(stage: Stage, scalars) -> None:
    assert run(stage, "sft", 12, "braked", GENERAL_RECORDS) == 3
    values = scalars(stage.log_dir("braked"))
    assert values["brake/level"] == [1.0, 1.0, 2.0]
    assert values["brake/lr_factor"] == [0.5, 0.5, 0.5]


def test_a_line_that_holds_does_nothing(dropping: Stage, scalars) -> None:
    assert run(dropping, "grpo", 3, "free", 10**6) == 0
    assert set(scalars(dropping.log_dir("free"))["brake/level"]) == {0.0}


def test_a_line_that_is_crossed_at_the_end_is_not_published(
    dropping: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dropping, "grpo", 1, "short", GENERAL_RECORDS) == 3
    assert "the run ended beyond it" in capsys.readouterr().err.strip().splitlines()[-1]
    manifest = Manifest.read(dropping.folder / "adapters" / "sql")
    assert (manifest.steps, manifest.metrics_after["general/all"]) == (0, 1.0)


def test_a_resume_in_the_middle_of_an_escalation_goes_on(dropping: Stage, scalars) -> None:
    assert run(dropping, "grpo", 2, "first", GENERAL_RECORDS) == 3
    middle = next(dropping.log_dir("first").glob("checkpoints/*step=2.ckpt"))
    assert run(dropping, "grpo", 12, "second", 0, "--ckpt_path", str(middle)) == 3
    values = scalars(dropping.log_dir("second"))
    assert values["brake/level"] == [2.0, 2.0, 3.0]
    assert values["train/beta_brake"] == [2.0, 2.0, 2.0]


def test_a_brake_without_evaluation_is_refused(dropping: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    changes = dropping.changes("grpo", 1, "blind")
    callbacks = changes["trainer"]["callbacks"]
    changes["trainer"]["callbacks"] = [c for c in callbacks if c["class_path"] != "RegressionEval"]
    assert main(["fit", "-c", "configs/grpo_sql.yaml", "-c", dropping.overlay("blind", changes)]) == 2
    assert "RedLineBrake needs RegressionEval" in capsys.readouterr().err


def test_a_line_without_records_is_refused(dropping: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    changes = dropping.changes("grpo", 1, "odd", lines=[{"metric": "general/writing", "max_drop": 0.03}])
    assert main(["fit", "-c", "configs/grpo_sql.yaml", "-c", dropping.overlay("odd", changes)]) == 2
    assert "general/writing" in capsys.readouterr().err
