"""Whatever can be wrong with a stage is told before the first one trains."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.errors import ConfigError
from qwen_lightning.pipeline.config import PipelineConfig
from qwen_lightning.pipeline.fingerprint import fingerprint
from qwen_lightning.pipeline.plan import StagePlan, check_chain
from qwen_lightning.stage_plans import plan_all
from tests.conftest import Stage
from tests.pipeline.conftest import PipelineRun
from tools.demo.tiny import TinyDemo


def plans_of(pipeline: PipelineRun) -> dict[str, StagePlan]:
    pipeline.write()
    return plan_all(PipelineConfig.read([str(pipeline.config)]).stages)


def test_a_plan_says_what_a_stage_reads_and_writes(pipeline: PipelineRun, in_repository: Path) -> None:
    plans = plans_of(pipeline)
    check_chain(plans)
    assert list(plans) == list(pipeline.stages)
    sql, persona, base = plans["sql"], plans["persona"], plans["base-sft"]
    assert (sql.stage, sql.name, sql.tasks) == ("grpo", "sql", ["text2sql"])
    assert (sql.adapter, sql.writes) == (str(pipeline.adapter("base-sft")), str(pipeline.adapter("sql")))
    assert (sql.base_model, sql.quantization) == (str(pipeline.demo.base), "none")
    assert set(sql.data) == {path for paths in sql.sources.values() for path in paths}
    assert str(pipeline.demo.file("grpo_sql")) in sql.data
    assert [Path(folder).resolve() for folder in base.databases] == [pipeline.demo.databases.resolve()]
    assert (persona.stage, persona.tasks, base.adapter) == ("sft", ["persona"], None)


def model(name: str, **settings: object) -> Callable[[PipelineRun], None]:
    return lambda pipeline: pipeline.overlays[name]["model"]["init_args"].update(settings)


def data(name: str, **settings: object) -> Callable[[PipelineRun], None]:
    return lambda pipeline: pipeline.overlays[name]["data"]["init_args"].update(settings)


def without(name: str, callback: str) -> Callable[[PipelineRun], None]:
    def change(pipeline: PipelineRun) -> None:
        trainer = pipeline.overlays[name]["trainer"]
        trainer["callbacks"] = [entry for entry in trainer["callbacks"] if entry["class_path"] != callback]

    return change


def mix_persona(pipeline: PipelineRun) -> None:
    prompts = pipeline.folder / "mixed.jsonl"
    lines = pipeline.demo.file("grpo_fc").read_text(encoding="utf-8").splitlines()
    record = json.loads(pipeline.demo.file("persona_sft").read_text(encoding="utf-8").splitlines()[0])
    prompts.write_text("\n".join([*lines, json.dumps(record)]) + "\n", encoding="utf-8")
    data("fc", prompts=[str(prompts)])(pipeline)


@pytest.mark.parametrize(
    ("change", "stage", "said"),
    [
        (model("sql", learning_rat=1), "sql", "learning_rat"),
        (model("slot", beta=0), "slot", "beta is 0"),
        (data("fc", prompts=["nowhere.jsonl"]), "fc", "prompts: nowhere.jsonl does not exist"),
        (data("sql", general_ratio=0.5), "sql", "general_ratio is 0.5"),
        (without("fc", "RedLineBrake"), "fc", "has 0 RedLineBrake"),
        (lambda pipeline: pipeline.overlays["sql"]["trainer"].update(logger=False), "sql", "trainer.logger"),
        (mix_persona, "fc", "mixed.jsonl:"),
    ],
)
def test_a_bad_stage_is_named_with_its_configs(
    demo: TinyDemo,
    tmp_path: Path,
    in_repository: Path,
    change: Callable[[PipelineRun], None],
    stage: str,
    said: str,
) -> None:
    pipeline = PipelineRun(demo, tmp_path, [stage])
    change(pipeline)
    with pytest.raises(ConfigError) as caught:
        plans_of(pipeline)
    message = str(caught.value)
    assert message.startswith(f"stage {stage} (configs/")
    assert f"{stage}.yaml): " in message
    assert said in message
    assert "\n" not in message


def test_the_command_says_so_in_one_line_and_trains_nothing(
    demo: TinyDemo, tmp_path: Path, in_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = PipelineRun(demo, tmp_path, ["base-sft", "persona", "sql"])
    pipeline.overlays["sql"]["data"]["init_args"]["prompts"] = ["nowhere.jsonl"]
    pipeline.write()
    assert main(["pipeline", "-c", str(pipeline.config)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("stage sql (configs/grpo_sql.yaml, ")
    assert "nowhere.jsonl does not exist" in error
    assert "\n" not in error
    assert not (tmp_path / "adapters").exists()


def plan(name: str, adapter: str | None = "adapters/base-sft", stage: str = "grpo", **more: object) -> StagePlan:
    values = {
        "configs": [f"{name}.yaml"], "stage": stage, "base_model": "base", "quantization": "nf4", "adapter": adapter,
        "writes": f"adapters/{name}", "name": name, "tasks": [], "sources": {}, "data": {}, "databases": [],
        "runs": f"runs/{name}",
    }  # fmt: skip
    return StagePlan.model_validate(values | more)


BASE = plan("base-sft", adapter=None, stage="sft")
PERSONA = plan("persona", stage="sft", tasks=["persona"])


@pytest.mark.parametrize(
    ("plans", "said"),
    [
        ([plan("sql")], "adapters/base-sft is no adapter folder, and no earlier stage writes it"),
        ([plan("sql"), BASE], "is written by stage base-sft, which comes after it"),
        ([BASE, plan("sql", adapter="adapters/sql")], "adapters/sql is its own"),
        ([BASE, plan("sql"), plan("fc", writes="adapters/../adapters/sql")], "is what stage sql writes"),
        ([BASE, plan("sql", base_model="other")], "other (nf4) is not what adapters/base-sft is trained on"),
        ([BASE, PERSONA, plan("sql", adapter="adapters/persona")], "persona never meets GRPO"),
        (
            [BASE, PERSONA, plan("between", "adapters/persona", "sft"), plan("sql", adapter="adapters/between")],
            "persona never meets GRPO",
        ),
    ],
)
def test_stages_that_do_not_hang_together_are_refused(
    plans: list[StagePlan], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        check_chain({plan.name: plan for plan in plans})
    assert said in str(caught.value)


def test_an_adapter_that_lies_there_may_be_started_from_and_is_never_overwritten(
    trained: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.folder / "adapters", "adapters")
    base = Manifest.read("adapters/base-sft")
    on_it = {"base_model": base.base_model, "quantization": base.quantization}
    check_chain({"sql": plan("sql", **on_it)})
    with pytest.raises(ConfigError, match="holds an adapter that no pipeline trained; move it away"):
        check_chain({"base-sft": BASE})
    base.model_copy(update={"inherited_tasks": ["persona"]}).write("adapters/base-sft")
    with pytest.raises(ConfigError, match="persona never meets GRPO"):
        check_chain({"sql": plan("sql", **on_it)})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: {sql: [a.yaml]}", "folder: "),
        ("folder: runs", "stages: "),
        ("folder: runs\nstages: [a.yaml]", "stages: is no mapping"),
        ("folder: runs\nstages: {sql: a.yaml}", "stages.sql: "),
        ("folder: runs\nstages: {sql: []}", "stages.sql: "),
        ("folder: runs\nstages: {a/b: [a.yaml]}", "stages.a/b"),
        ("folder: runs\nstages: {sql: [nowhere.yaml]}", "stage sql: nowhere.yaml: cannot be read"),
    ],
)
def test_a_config_that_names_no_stages_is_refused(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pipeline.yaml").write_text(text)
    assert main(["pipeline", "-c", "pipeline.yaml"]) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_later_configs_win_and_their_other_settings_are_laid_over_every_stage(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("folder: a\nstages: {x: [x.yaml], y: [y.yaml]}")
    second.write_text("folder: b\nstages: {x: [x.yaml, z.yaml], w: [w.yaml]}\ntrainer: {max_steps: 3}")
    config = PipelineConfig.read([str(first), str(second)])
    assert config.folder == Path("b")
    assert config.stages == {"x": ["x.yaml", "z.yaml"], "y": ["y.yaml"], "w": ["w.yaml"]}
    assert config.overlays == [{"trainer": {"max_steps": 3}}]


def test_a_fingerprint_changes_with_whatever_a_stage_reads_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("base", "databases", "records"):
        Path(folder).mkdir()
    files = {
        "sql.yaml": "seed: 1\nmodel: {beta: 0.04}",
        "records/a.jsonl": "{}\n",
        "databases/shop.sql": "CREATE TABLE t (a INTEGER);",
        "base/model.safetensors": "weights",
    }
    for name, text in files.items():
        Path(name).write_text(text)
    stage = plan("sql", databases=["databases"], base_model="base", sources={"prompts": ["records"]})
    before = fingerprint(stage, "parent")
    assert fingerprint(stage, "parent").run == before.run

    Path("sql.yaml").write_text("# a remark\nmodel:\n  beta: 0.04\nseed: 1\n")
    Path("databases/notes.txt").write_text("nothing that a stage reads")
    assert fingerprint(stage, "parent") == before
    said = {
        "sql.yaml": "its config changed",
        "records/a.jsonl": "records/a.jsonl changed",
        "databases/shop.sql": "databases/shop.sql changed",
        "base/model.safetensors": "its base model changed",
    }
    for name, expected in said.items():
        Path(name).write_text(files[name] + " ")
        if name == "sql.yaml":
            Path(name).write_text("seed: 2")
        after = fingerprint(stage, "parent")
        assert after.difference(before) == expected
        assert after.run != before.run
        before = after
    Path("records/b.jsonl").write_text("")
    assert fingerprint(stage, "other").difference(before) == (
        "records/b.jsonl changed, the adapter that it starts from changed"
    )
