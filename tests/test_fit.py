"""The newcomer's way: Base-SFT, then GRPO on SQL, through the shipped configs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from qwen_lightning import cli
from qwen_lightning.__main__ import main
from qwen_lightning.adapters.manifest import Manifest
from tests.conftest import Stage

CONFIGS = sorted(
    path.name for path in (Path(__file__).parents[1] / "configs").glob("*.yaml") if path.name != "pipeline.yaml"
)


@pytest.fixture
def stage_with_sft(trained: Stage, stage: Stage) -> Stage:
    """A fresh folder with the trained Base-SFT adapter in it."""
    shutil.copytree(trained.folder / "adapters", stage.folder / "adapters")
    return stage


def checkpoint(stage: Stage, run: str, step: int) -> Path:
    return next(stage.log_dir(run).glob(f"checkpoints/*step={step}.ckpt"))


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_prints_without_gpu_hub_or_database(
    config: str, in_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "-c", f"configs/{config}", "--print_config"]) == 0
    assert "class_path: qwen_lightning.modules" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("config", "overlay", "expected"),
    [
        ("grpo_sql", "trainer/ddp", "DDPStrategy"),
        ("grpo_sql", "trainer/single_gpu", "accelerator: gpu"),
        ("sft", "trainer/cpu", "dtype: float32"),
        ("sft", "demo/sft", "name_or_path: demo/base"),
        ("grpo_sql", "demo/grpo_sql", "adapter: demo/adapters/base-sft"),
    ],
)
def test_overlays_compose(
    config: str, overlay: str, expected: str, in_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "-c", f"configs/{config}.yaml", "-c", f"configs/{overlay}.yaml", "--print_config"]) == 0
    printed = capsys.readouterr().out
    assert expected in printed
    assert "RegressionEval" in printed  # an overlay's callbacks replace the list whole


def test_links_reach_the_data_module(in_repository: Path, tmp_path: Path) -> None:
    given = ["--model.max_completion_length", "99", "--seed_everything", "7", "--tasks.sql.databases", str(tmp_path)]
    built = cli.build(["-c", "configs/grpo_sql.yaml", *given])
    assert built.datamodule.tokenizer == "Qwen/Qwen3-8B"
    assert built.datamodule.max_completion_length == 99
    assert built.datamodule.seed == 7
    assert built.datamodule.tasks is built.model.tasks
    assert built.model.rewards.weights["text2sql"]["strong"] == {"executes": 1.0, "match": 2.0, "references": -2.0}


def test_sft_then_grpo(stage_with_sft: Stage, scalars) -> None:
    stage = stage_with_sft
    parent = Manifest.read(stage.folder / "adapters" / "base-sft")
    assert (parent.name, parent.stage, parent.steps, parent.parent) == ("base-sft", "sft", 3, None)
    assert set(parent.data) == {
        str(stage.demo.file(name)) for name in ("task_sft", "general_sft", "general_regression", "task_regression")
    }

    assert stage.fit("grpo", 3) == 0
    manifest = Manifest.read(stage.folder / "adapters" / "sql")
    assert manifest.parent is not None
    assert manifest.parent.sha256 == parent.sha256
    assert manifest.steps == 3
    assert manifest.sha256 != parent.sha256
    assert manifest.metrics_before.keys() == manifest.metrics_after.keys()
    assert "text2sql/match" in manifest.metrics_after

    values = scalars(stage.log_dir("grpo"))
    for name in (
        "reward",
        "kl",
        "beta",
        "lr",
        "tokens_per_second",
        "rollout_seconds",
        "verification_wait_seconds",
        "text2sql/executes",
        "text2sql/references",
    ):
        assert len(values[f"train/{name}"]) == 3, name
        assert all(map(torch.isfinite, map(torch.tensor, values[f"train/{name}"]))), name
    assert values["train/kl"][0] == pytest.approx(0, abs=1e-6)
    assert values["train/kl"][-1] > 0
    assert len(values["regression/general/all"]) == 3  # before, at step 2, at the end


def test_grpo_with_queries_that_run(stage_with_sft: Stage, scalars) -> None:
    changes = stage_with_sft.changes("grpo", 2, "real")
    del changes["tasks"]["custom"]
    changes["model"]["init_args"]["rollout"] = {"class_path": "tests.modules.replay.ReplayRollout"}
    assert main(["fit", "-c", "configs/grpo_sql.yaml", "-c", stage_with_sft.overlay("real", changes)]) == 0
    executed = scalars(stage_with_sft.log_dir("real"))["train/text2sql/executes"]
    assert all(0.5 <= share < 1 for share in executed)  # every second completion is SELECT 1


def test_general_prompts_carry_kl_alone(stage_with_sft: Stage, scalars) -> None:
    assert stage_with_sft.fit("grpo", 6) == 0
    values = scalars(stage_with_sft.log_dir("grpo"))
    found = values["train/general_kl"]
    assert found[0] == pytest.approx(0, abs=1e-6)  # the policy starts at the reference
    assert any(math.isnan(value) for value in found)  # one prompt in twenty: some steps have none
    assert [value for value in found[1:] if not math.isnan(value)]


def test_grpo_without_its_parent_says_what_to_run(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.fit("grpo", 1) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "adapters/base-sft" in message
    assert "fit -c configs/sft.yaml" in message


def test_beta_of_zero_is_refused(stage_with_sft: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage_with_sft.fit("grpo", 1, None, "--model.beta", "0") == 2
    assert "beta" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ('{"text2sql": {"strong": {"mach": 1}}}', "no such check"),
        ('{"text2sql": {"strong": {"match": 1}}}', "a wrong answer could score above a right one"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(
    stage: Stage, capsys: pytest.CaptureFixture[str], weights: str, named: str
) -> None:
    assert stage.fit("sft", 1, None, f"--rewards.weights={weights}") == 2
    assert named in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("options", [(), ("--model.inner_epochs", "2", "--model.updates_per_rollout", "2")])
def test_grpo_resumes_bit_for_bit(stage_with_sft: Stage, options: tuple[str, ...]) -> None:
    stage = stage_with_sft
    steps = 6 if not options else 24
    assert stage.fit("grpo", steps, "whole", *options) == 0
    assert stage.fit("grpo", steps // 2, "first", *options) == 0
    middle = checkpoint(stage, "first", steps // 2)
    assert stage.fit("grpo", steps, "second", *options, "--ckpt_path", str(middle)) == 0
    whole = torch.load(checkpoint(stage, "whole", steps), weights_only=True)
    resumed = torch.load(checkpoint(stage, "second", steps), weights_only=True)
    assert_equal(whole["state_dict"], resumed["state_dict"])
    assert_equal(whole["optimizer_states"], resumed["optimizer_states"])
    assert_equal(whole["lr_schedulers"], resumed["lr_schedulers"])
    assert_equal(whole["random_states"], resumed["random_states"])
    for name in ("RegressionEval", "RedLineBrake"):
        assert_equal(state_of(whole, name), state_of(resumed, name))


def test_sft_resumes_bit_for_bit_over_an_epoch(stage: Stage) -> None:
    assert stage.fit("sft", 24, "whole", every=10) == 0
    assert stage.fit("sft", 12, "first", every=10) == 0
    middle = checkpoint(stage, "first", 12)
    assert stage.fit("sft", 24, "second", "--ckpt_path", str(middle), every=10) == 0
    whole = torch.load(checkpoint(stage, "whole", 24), weights_only=True)
    resumed = torch.load(checkpoint(stage, "second", 24), weights_only=True)
    assert_equal(whole["state_dict"], resumed["state_dict"])
    assert_equal(whole["optimizer_states"], resumed["optimizer_states"])


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_a_run_that_was_killed_after_its_last_step_still_ends(stage_with_sft: Stage, kind: str) -> None:
    stage = stage_with_sft
    assert stage.fit(kind, 3, "whole") == 0
    folder = stage.folder / "adapters" / ("base-sft" if kind == "sft" else "sql")
    whole = Manifest.read(folder)
    shutil.rmtree(folder)
    assert stage.fit(kind, 3, "ended", "--ckpt_path", str(checkpoint(stage, "whole", 3))) == 0
    ended = Manifest.read(folder)
    assert ended.run == str(stage.log_dir("ended"))
    assert (ended.sha256, ended.steps) == (whole.sha256, 3)
    assert ended.metrics_after == pytest.approx(whole.metrics_after)


def test_resume_with_another_reference_is_refused(stage_with_sft: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage = stage_with_sft
    assert stage.fit("grpo", 1, "first") == 0
    middle = checkpoint(stage, "first", 1)
    assert stage.fit("sft", 1, "other") == 0  # another Base-SFT in its place
    assert stage.fit("grpo", 2, "second", "--ckpt_path", str(middle)) == 2
    assert "adapter that the run started from" in capsys.readouterr().err


def test_regression_records_that_are_trained_on_are_refused(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = stage.demo.file("task_sft").read_text().splitlines()
    leaked = tmp_path / "leaked.jsonl"
    record = json.loads(lines[4])
    leaked.write_text(json.dumps(record | {"id": "leaked", "input": record["input"].upper() + "  "}) + "\n")
    assert stage.fit("sft", 1, None, f"--data.task_regression=[{leaked}]") == 2
    message = capsys.readouterr().err
    assert "leaked.jsonl:1" in message
    assert "task_sft.jsonl:5" in message


def test_validate_test_and_predict(stage_with_sft: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage = stage_with_sft
    changes = stage.changes("grpo", 1, "eval")
    output = stage.folder / "completions.jsonl"
    changes["trainer"]["callbacks"] = [{"class_path": "CompletionsWriter", "init_args": {"output": str(output)}}]
    changes["data"]["init_args"]["predict"] = [str(stage.demo.file("heldout_new"))]
    overlay = stage.overlay("eval", changes)
    arguments = ["-c", "configs/grpo_sql.yaml", "-c", overlay]
    assert main(["validate", *arguments]) == 0
    assert "val/text2sql/executes" in capsys.readouterr().out
    assert main(["test", *arguments]) == 0
    assert main(["predict", *arguments]) == 0
    heldout = str(stage.demo.file("heldout_new"))
    scores = stage.folder / "scores.jsonl"
    assert main([
        "score", "--records", heldout, "--completions", str(output), "--output", str(scores),
        "--databases", str(stage.demo.databases),
    ]) == 0  # fmt: skip
    assert len(scores.read_text().splitlines()) == len(Path(heldout).read_text().splitlines())


def assert_equal(left: object, right: object) -> None:
    """Equality to the bit, through containers."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_equal(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, two in zip(left, right, strict=True):
            assert_equal(one, two)
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    else:
        assert left == right


def state_of(saved: dict, name: str) -> dict:
    return next(state for key, state in saved["callbacks"].items() if name in key)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"trainer: [", "no YAML"),
        (b"# nothing is set here\n", "holds no setting"),
        (b"- trainer", "a config is a mapping, not list"),
        ("# Größe\ntrainer: {}".encode("latin-1"), "no YAML"),
    ],
)
def test_a_config_that_cannot_be_read_is_named(
    content: bytes, said: str, in_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "overlay.yaml"
    path.write_bytes(content)
    assert main(["fit", "-c", "configs/sft.yaml", "-c", str(path)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"{path}: ")
    assert said in error
    assert "\n" not in error
    assert main(["fit", "-c", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: cannot be read: No such file" in capsys.readouterr().err


def test_the_adapter_that_a_config_writes_can_be_scored_with_it(
    stage_with_sft: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = stage_with_sft
    changes = stage.changes("grpo", 1, "again")
    written = str(stage.folder / "adapters" / "base-sft")
    for callback in changes["trainer"]["callbacks"]:
        if callback["class_path"] == "AdapterCheckpoint":
            callback["init_args"]["dirpath"] = written
    arguments = ["-c", "configs/grpo_sql.yaml", "-c", stage.overlay("again", changes)]
    assert main(["validate", *arguments]) == 0
    assert main(["fit", *arguments]) == 2
    assert "the adapter that the run starts from" in capsys.readouterr().err


def test_epochs_in_place_of_steps_end_on_the_schedule(stage: Stage, scalars) -> None:
    more = ("--trainer.max_steps", "-1", "--trainer.max_epochs", "2", "--model.warmup_steps", "3")
    assert stage.fit("sft", 1, "epochs", *more, every=100) == 0
    rates = scalars(stage.log_dir("epochs"))["train/lr"]
    steps = len(rates)
    assert steps % 2 == 0
    assert Manifest.read(stage.folder / "adapters" / "base-sft").steps == steps
    assert rates.index(max(rates)) == 3
    assert rates[-1] == pytest.approx(0, abs=1e-5)


def test_a_checkpoint_that_cannot_be_resumed_from_is_named(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = {"text.ckpt": b"learning_rate: 1", "empty.ckpt": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    said = {"none.ckpt": "there is no such file", "other.ckpt": "no checkpoint of this trainer"}
    for name in ("none.ckpt", *contents, "other.ckpt"):
        assert stage.fit("sft", 1, None, "--ckpt_path", str(tmp_path / name)) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(f"--ckpt_path {tmp_path / name}")
        assert said.get(name, "is no checkpoint, or a damaged one") in error


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("inner_epochs", "0", "inner_epochs"),
        ("updates_per_rollout", "5", "prompts_per_step"),
        ("micro_batch_tokens", "0", "micro_batch_tokens"),
        ("temperature", "0", "temperature"),
        ("group_size", "1", "group_size"),
        ("learning_rate", "-1", "learning_rate"),
        ("quantization", "none", "was trained on"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    stage_with_sft: Stage, capsys: pytest.CaptureFixture[str], setting: str, value: str, named: str
) -> None:
    assert stage_with_sft.fit("grpo", 1, None, f"--model.{setting}", value) == 2
    assert named in capsys.readouterr().err.strip().splitlines()[-1]


def test_an_adapter_is_not_written_over_something_else(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stage.folder / "adapters" / "base-sft"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    assert stage.fit("sft", 1) == 2
    assert "something else than an adapter" in capsys.readouterr().err
    assert not stage.log_dir("sft").exists() or not list(stage.log_dir("sft").glob("checkpoints/*"))


def test_half_precision_of_adapters_is_refused(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.fit("sft", 1, None, "--trainer.precision", "bf16-true") == 2
    assert "trainer.precision" in capsys.readouterr().err.strip().splitlines()[-1]
