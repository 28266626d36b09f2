"""RegressionEval: what a run leaves in its folder and in TensorBoard, and baselines that are measured once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from qwen_lightning.__main__ import main
from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.regression.scores import ScoreRow, read_rows, summarize
from qwen_lightning.tasks.registry import TaskRegistry
from tests.conftest import REPOSITORY, Stage
from tools.demo.tiny import TinyDemo

CONFIG = ["-c", "configs/grpo_sql.yaml"]


@pytest.fixture(scope="module")
def measured(demo: TinyDemo, trained: Stage, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A folder in which one GRPO run of two steps, `first`, has measured the baseline of base-sft."""
    stage = Stage(demo, tmp_path_factory.mktemp("measured"))
    shutil.copytree(trained.folder / "adapters", stage.folder / "adapters")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        assert stage.fit("grpo", 2, "first", every=1, lines=[]) == 0
    return stage


@pytest.fixture
def again(measured: Stage, in_repository: Path) -> Stage:
    """The same folder, from the repository."""
    return measured


def rows(stage: Stage, run: str, step: int) -> list[ScoreRow]:
    return read_rows(stage.log_dir(run) / "regression" / f"step_{step:06d}.jsonl")


def cached(stage: Stage) -> Path:
    (path,) = (stage.folder / "baselines").iterdir()
    return path


def test_the_folder_explains_itself(measured: Stage) -> None:
    folder = measured.log_dir("first") / "regression"
    assert sorted(path.name for path in folder.iterdir()) == [
        "records.jsonl", "step_000000.jsonl", "step_000001.jsonl", "step_000002.jsonl",
    ]  # fmt: skip
    read = TaskRegistry().reader.read
    given = [read(measured.demo.file(name)) for name in ("general_regression", "task_regression")]
    kept = [item.record for item in TaskRegistry().reader.scan(folder / "records.jsonl")]
    assert kept == [item.record for items in given for item in items]
    assert [row.id for row in rows(measured, "first", 2)] == [record.id for record in kept]


def test_forward_kl_is_nothing_at_the_start_and_grows(measured: Stage) -> None:
    drift = [[row.forward_kl for row in rows(measured, "first", step)] for step in (0, 1, 2)]
    assert set(drift[0]) == {0.0}
    assert all(kl is not None and kl > 0 for kl in drift[1] + drift[2])
    totals = [sum(kl or 0.0 for kl in step) for step in drift]
    assert totals[2] > totals[1]


def test_every_metric_has_its_interval_and_the_baseline_its_likelihood(measured: Stage, scalars) -> None:
    values = scalars(measured.log_dir("first"))
    summaries = [summarize(rows(measured, "first", step)) for step in (0, 1, 2)]
    for name in summaries[0]:
        low, high = values[f"interval/{name}/low"], values[f"interval/{name}/high"]
        now = [summary[name] for summary in summaries]
        assert values[f"regression/{name}"] == pytest.approx(now, rel=1e-5, abs=1e-6)
        assert all(a <= b + 1e-6 <= c + 2e-6 for a, b, c in zip(low, now, high, strict=True)), name
    assert values["regression/general/nll_reference"] == pytest.approx([summaries[0]["general/nll"]] * 3)
    assert all(seconds > 0 for seconds in values["regression/seconds"])


def test_one_page_shows_the_run(measured: Stage) -> None:
    events = EventAccumulator(str(measured.log_dir("first")), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tag = "custom_scalars__config__"
    assert list(events.PluginTagToContent("custom_scalars")) == [tag]
    layout = layout_pb2.Layout()
    (event,) = events.Tensors(tag)
    layout.ParseFromString(event.tensor_proto.string_val[0])
    (page,) = layout.category
    logged, shown = events.Tags()["scalars"], {}
    for chart in page.chart:
        (series,) = chart.margin.series or [None]
        patterns = [series.value, series.lower, series.upper] if series else chart.multiline.tag
        shown[chart.title] = [name for pattern in patterns for name in logged if re.compile(pattern).fullmatch(name)]
        assert len(shown[chart.title]) == len(patterns) or chart.title.startswith("KL to the reference")
    assert shown["tasks"][:2] == ["regression/intent_rewrite/exact", "regression/slot_json/f1"]
    assert "regression/text2sql/match" in shown["tasks"]
    assert shown["general index"] == [
        "regression/general/all", "interval/general/all/low", "interval/general/all/high",
    ]  # fmt: skip
    assert "train/beta" in shown["β"]
    assert shown["learning rate"] == ["train/lr"]
    assert "train/kl" in shown["KL to the reference, nats a token"]


def test_a_second_run_takes_the_baseline_and_trains_the_same(
    again: Stage, capsys: pytest.CaptureFixture[str], scalars
) -> None:
    """The hit is seen by an answer that is changed in the cache: it is judged as if the model had given it."""
    path = cached(again)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert again.fit("grpo", 2, "second", every=1, lines=[]) == 0
    assert f"Baseline of base-sft: from {path}" in capsys.readouterr().out
    assert json.loads(path.read_text(encoding="utf-8")) == content
    for step in (0, 1, 2):
        assert rows(again, "second", step) == rows(again, "first", step)

    position = next(i for i, row in enumerate(rows(again, "first", 0)) if row.checks.get("answer") == 0.0)
    record = TaskRegistry().reader.read(again.log_dir("first") / "regression" / "records.jsonl")[position].record
    doctored = json.loads(json.dumps(content))
    doctored["answers"][position]["completion"] = record.gold
    path.write_text(json.dumps(doctored), encoding="utf-8")
    assert again.fit("grpo", 1, "doctored", every=1, lines=[]) == 0
    path.write_text(json.dumps(content), encoding="utf-8")
    before, after = rows(again, "first", 0), rows(again, "doctored", 0)
    assert [i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]] == [position]
    assert after[position].checks["all"] == 1.0


def test_a_changed_verifier_is_seen_through_the_cache(again: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    changes = again.changes("grpo", 1, "judged", every=1, lines=[])
    kind = {"class_path": "tests.modules.replay.DroppingGeneral", "init_args": {"right": 10**6}}
    changes["tasks"]["custom"].append(kind)
    assert main(["fit", *CONFIG, "-c", again.overlay("judged", changes)]) == 0
    assert "Baseline of base-sft: from" in capsys.readouterr().out
    first, judged = rows(again, "first", 0), rows(again, "judged", 0)
    assert [row.completion for row in judged] == [row.completion for row in first]
    assert summarize(first)["general/all"] < summarize(judged)["general/all"] == 1.0


def test_a_damaged_baseline_is_named_and_measured_anew(again: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    path = cached(again)
    content = path.read_text(encoding="utf-8")
    path.write_text(content[: len(content) // 2], encoding="utf-8")
    with pytest.warns(UserWarning, match=re.escape(f"{path} is no baseline")):
        assert again.fit("grpo", 1, "damaged", every=1, lines=[]) == 0
    assert "Scoring the regression records" in capsys.readouterr().out
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(content)


def test_training_does_not_depend_on_being_watched(again: Stage) -> None:
    changes = again.changes("grpo", 2, "unwatched")
    callbacks = changes["trainer"]["callbacks"]
    changes["trainer"]["callbacks"] = [c for c in callbacks if c["class_path"] == "AdapterCheckpoint"]
    assert main(["fit", *CONFIG, "-c", again.overlay("unwatched", changes)]) == 0
    alone = Manifest.read(again.folder / "adapters" / "sql").sha256
    assert again.fit("grpo", 2, "watched", every=1, lines=[]) == 0
    assert Manifest.read(again.folder / "adapters" / "sql").sha256 == alone


def test_another_suite_is_another_baseline(again: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = cached(again)
    lines = again.demo.file("general_regression").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "fewer.jsonl").write_text("".join(lines[1:]), encoding="utf-8")
    more = (f"--data.general_regression=[{tmp_path / 'fewer.jsonl'}]",)
    middle = next(again.log_dir("first").glob("checkpoints/*step=1.ckpt"))
    assert again.fit("grpo", 2, "resumed", *more, "--ckpt_path", str(middle), every=1, lines=[]) == 2
    assert "not those of the checkpoint's baseline" in capsys.readouterr().err.strip().splitlines()[-1]
    assert again.fit("grpo", 1, "fewer", *more, every=1, lines=[]) == 0
    found = {found for found in (again.folder / "baselines").iterdir() if found != path}
    assert len(found) == 1
    found.pop().unlink()


def test_what_computes_otherwise_has_a_baseline_of_its_own(again: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    path = cached(again)
    first = json.loads(path.read_text(encoding="utf-8"))["measured"]
    assert (first["layers"], first["layout"]) == ("transformers", "dense")
    assert first["rollout"][1] == "GroupedRollout"
    assert "weights" in first["rollout"][2]
    assert again.fit("grpo", 1, "apart", "--model.share_prompts=false", every=1, lines=[]) == 0
    assert "Scoring the regression records" in capsys.readouterr().out
    (found,) = {found for found in (again.folder / "baselines").iterdir() if found != path}
    other = json.loads(found.read_text(encoding="utf-8"))["measured"]
    assert {name for name in first if first[name] != other[name]} == {"layout"}
    found.unlink()


def test_an_evaluation_gives_the_engine_s_buffers_back(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    engine = "--model.rollout=tests.modules.replay.SaysWhenItReleases"
    assert stage.fit("sft", 1, "released", engine, every=1, lines=[]) == 0
    assert capsys.readouterr().out.count("released\n") == 3  # after the baseline, after the step, in the end


def test_settings_that_cannot_be_meant(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    for setting, value in (("every_n_steps", 0), ("signal_tokens", -1)):
        changes = stage.changes("sft", 1, "odd")
        changes["trainer"]["callbacks"][0]["init_args"][setting] = value
        assert main(["fit", "-c", "configs/sft.yaml", "-c", stage.overlay("odd", changes)]) == 2
        assert f"{setting} is {value}" in capsys.readouterr().err
