"""`report`: what the page says is what the run's folder holds."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from torch.utils.tensorboard import SummaryWriter

from qwen_lightning.__main__ import main
from qwen_lightning.regression.scores import read_rows, summarize
from tests.conftest import REPOSITORY, Stage


def report(run: Path, output: Path) -> str:
    """The page of a run, as text."""
    assert main(["report", str(run), "--output", str(output)]) == 0
    return output.read_text(encoding="utf-8")


def text_of(page: str, section: str) -> str:
    """A section's text without its tags."""
    found = re.search(rf'<(section|header) id="{section}">(.*?)</\1>', page, re.DOTALL)
    assert found is not None, section
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found[2])).split())


@pytest.fixture(scope="module")
def page(braked: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The braked run's page, made where nothing has loaded torch."""
    output = tmp_path_factory.mktemp("page") / "deep" / "report.html"
    code = (
        "import sys; from qwen_lightning.__main__ import main; "
        f"code = main(['report', {str(braked)!r}, '--output', {str(output)!r}]); "
        "heavy = {'torch', 'lightning', 'transformers', 'tensorflow', 'pandas'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return output.read_text(encoding="utf-8")


@pytest.fixture
def copy(braked: Path, tmp_path: Path) -> Path:
    """The braked run, to change."""
    return Path(shutil.copytree(braked, tmp_path / "runs" / "sql" / "version_0"))


def test_a_braked_run_tells_everything(page: str, braked: Path) -> None:
    head, actions = text_of(page, "head"), text_of(page, "actions")
    assert "Stage GRPO" in head
    assert "Steps 8 of 10" in head
    assert "stopped by a red line" in head
    assert "The adapter that was kept is that of step 0." in head
    assert "base-sft" in head
    for number, action in enumerate(map(json.loads, (braked / "brake.jsonl").read_text("utf-8").splitlines()), start=1):
        name = {"raise_kl": "raise KL", "lower_lr": "lower learning rate"}.get(action["kind"], action["kind"])
        assert f"{number} {action['step']} {name} KL ×{action['kl_factor']:g}, LR ×{action['lr_factor']:g}" in actions
        assert action["flipped"][0] in actions
    # Every chart has every mark: the numbers 1 to 4 above it.
    charts = re.findall(r'<figure class="chart.*?</figure>', page, re.DOTALL)
    assert len(charts) > 15
    for chart in charts:
        assert re.findall(r">(\d)</text>", chart)[-4:] == ["1", "2", "3", "4"]
    titles = set(re.findall(r"<figcaption><b>(.*?)</b>", page))
    assert {"Reward", "Reward by check", "KL to the reference", "β", "Learning rate", "General index"} <= titles
    assert {"NLL of general answers", "Forward KL from the parent", "text2sql"} <= titles


def test_before_and_after_are_those_of_the_rows(page: str, braked: Path) -> None:
    changes = text_of(page, "changes")
    before, after = (summarize(read_rows(braked / "regression" / f"step_{step:06d}.jsonl")) for step in (0, 8))
    for metric in ("text2sql/executes", "function_call/no_extra_text"):
        assert re.search(
            rf"{metric.replace('/', '/ ?').replace('_', '_ ?')} \d+ {before[metric]:.3f} {after[metric]:.3f} ", changes
        )
    assert "crossed" in changes


def test_samples_are_shown_with_their_verdicts(page: str, braked: Path) -> None:
    samples = [json.loads(line) for line in (braked / "samples.jsonl").read_text("utf-8").splitlines()]
    fields = ["step", "id", "task", "input", "gold", "completion", "reward", "checks", "detail"]
    assert all(list(sample) == fields for sample in samples)
    assert {sample["step"] for sample in samples} == set(range(8))
    shown = text_of(page, "samples")
    assert f"{len(samples)} completions of 8 steps were kept; shown are 6 steps" in shown
    for sample in (samples[0], samples[-1]):
        assert sample["input"] in shown
        assert f"reward {sample['reward']:.3f}".replace("-", "−") in shown


def test_an_sft_run_has_a_loss_and_no_reward(trained: Stage, tmp_path: Path) -> None:
    page = report(trained.log_dir("sft"), tmp_path / "report.html")
    assert "Stage SFT" in text_of(page, "head")
    assert '<p class="ending finished"><b>finished</b></p>' in page
    assert re.findall(r"<figcaption><b>(.*?)</b>", page)[0] == "Loss"
    assert "SFT samples nothing" in text_of(page, "samples")
    assert "The brake took no action." in text_of(page, "actions")


def test_what_a_run_lacks_is_said(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("samples.jsonl", "brake.jsonl", "config.yaml", "regression/records.jsonl"):
        (copy / name).unlink()
    page = report(copy, tmp_path / "report.html")
    assert "No samples were kept." in text_of(page, "samples")
    assert "No brake.jsonl was kept" in text_of(page, "actions")
    assert "No config.yaml" in text_of(page, "head")
    assert "No regression/records.jsonl" in text_of(page, "head")
    assert "note: No config.yaml" in capsys.readouterr().out
    shutil.rmtree(copy / "regression")
    page = report(copy, tmp_path / "report.html")
    assert "There are no two evaluations to compare." in text_of(page, "changes")
    assert "No score rows" in text_of(page, "head")


def test_torn_files_are_read_as_far_as_they_go_and_passwords_stay_where_they_are(copy: Path, tmp_path: Path) -> None:
    for name in ("samples.jsonl", "regression/step_000008.jsonl"):
        (copy / name).write_bytes((copy / name).read_bytes()[:-9])
    with open(copy / "brake.jsonl", "a", encoding="utf-8") as handle:
        handle.write('["no object"]\n{"kind": "rollback"}\n{"kind": "rollback", "step": 8, "value": null}\n')
    with open(copy / "config.yaml", "a", encoding="utf-8") as handle:
        handle.write("extra:\n  url: postgresql://trainer:hunter2@db/x\n  password: hunter2\n")
    page = report(copy, tmp_path / "report.html")
    assert "samples.jsonl: 1 line could not be read" in text_of(page, "head")
    assert "brake.jsonl: 2 lines could not be read and were left out (line 5, 6)" in text_of(page, "head")
    assert "5 8 rollback – – –" in text_of(page, "actions")
    assert "Score rows of step 8 were left out" in text_of(page, "head")
    assert "and step 6, on the same examples" in text_of(page, "changes")
    assert "postgresql://trainer:***@db/x" in text_of(page, "config")
    assert "hunter2" not in page


def test_a_damaged_event_file_is_said(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (events,) = copy.glob("events.out.tfevents.*")
    whole = events.read_bytes()
    report(copy, tmp_path / "report.html")
    assert "note: " not in capsys.readouterr().out
    for damaged in (
        whole[:-5],
        whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :],
    ):
        events.write_bytes(damaged)
        page = report(copy, tmp_path / "report.html")
        assert re.search(rf"{events.name} could be read to step \d only", text_of(page, "head"))
        assert capsys.readouterr().out.count("note: ") == 1


def test_an_interval_that_was_half_written_is_left_out(copy: Path, tmp_path: Path) -> None:
    whole = report(copy, tmp_path / "whole.html")
    with SummaryWriter(str(copy)) as writer:
        writer.add_scalar("interval/general/all/low", 0.5, 99)
    assert text_of(report(copy, tmp_path / "report.html"), "changes") == text_of(whole, "changes")


def test_fields_of_another_type_are_left_out_and_said(copy: Path, tmp_path: Path) -> None:
    bad = {
        "brake.jsonl": [{"kind": "stop", "step": 8, "flipped": 5}, {"kind": "stop", "step": True}],
        "samples.jsonl": [
            {"step": 8, "completion": "", "checks": {"match": "yes"}},
            {"step": -1, "completion": "", "checks": {}},
        ],
        "regression/records.jsonl": [{"id": "a", "task": "text2sql", "input": "", "history": 5}],
    }
    for name, lines in bad.items():
        with open(copy / name, "a", encoding="utf-8") as handle:
            handle.writelines(json.dumps(line) + "\n" for line in lines)
    head = text_of(report(copy, tmp_path / "report.html"), "head")
    assert "brake.jsonl: 2 lines could not be read and were left out" in head
    assert "samples.jsonl: 2 lines could not be read and were left out" in head
    assert "regression/records.jsonl: 1 line could not be read and was left out" in head


def keep_step(run: Path, step: int) -> None:
    """Say that the adapter of a step was kept, in a checkout of the run's own."""
    config = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    for callback in config["trainer"]["callbacks"]:
        if callback["class_path"].endswith("AdapterCheckpoint"):
            kept = json.loads((Path(callback["init_args"]["dirpath"]) / "manifest.json").read_text("utf-8"))
            callback["init_args"]["dirpath"] = "adapters/sql"
    (run / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    folder = run.parents[2] / "adapters" / "sql"
    folder.mkdir(parents=True, exist_ok=True)
    changed = {**kept, "steps": step, "run": "runs/sql/version_0"}
    (folder / "manifest.json").write_text(json.dumps(changed), "utf-8")


def test_the_adapter_that_was_kept_is_the_one_that_is_compared(copy: Path, tmp_path: Path, page: str) -> None:
    assert "Step 8 was not kept : the adapter that was kept is that of step 0" in text_of(page, "changes")
    assert "examples; step 8, which was not kept" in text_of(page, "head")
    keep_step(copy, 4)
    made = report(copy, tmp_path / "report.html")
    assert "Step 4 is the adapter that was kept; the evaluations after it, up to step 8, were not" in text_of(
        made, "changes"
    )
    assert "examples; step 4, the one kept" in text_of(made, "head")
    assert "from the baseline to step 4." in text_of(made, "flips")
    before, after = (summarize(read_rows(copy / "regression" / f"step_{step:06d}.jsonl")) for step in (0, 4))
    metric = "text2sql/executes"
    assert re.search(rf"text2sql/ ?executes \d+ {before[metric]:.3f} {after[metric]:.3f} ", text_of(made, "changes"))


def test_of_several_runs_one_must_be_named(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(copy, copy.with_name("version_1"))
    assert main(["report", str(tmp_path / "runs"), "--output", str(tmp_path / "report.html")]) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert "holds 2 runs; give one of them" in said
    assert f"{copy}, {copy.with_name('version_1')}" in said


@pytest.mark.parametrize(
    ("made", "output", "said"),
    [
        (None, "report.html", "no such folder"),
        ("empty", "report.html", "no event file in it"),
        ("silent", "report.html", "the run wrote nothing yet"),
        ("run", "", "is a folder; give a file"),
        ("run", "file/report.html", "cannot be written"),
        ("bad config", "report.html", "config.yaml: no YAML"),
    ],
)
def test_a_fault_is_one_line(
    made: str | None, output: str, said: str, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "given"
    if made == "empty":
        run.mkdir()
    elif made == "silent":
        run.mkdir()
        (run / "events.out.tfevents.1.host").write_bytes(b"")
    elif made is not None:
        run = copy
    if made == "bad config":
        (run / "config.yaml").write_text("a: [", "utf-8")
    (tmp_path / "file").write_text("in the way")
    assert main(["report", str(run), "--output", str(tmp_path / output)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert error.count("\n") == 0
    assert not (tmp_path / "report.html").exists()
