"""`pipeline`: from an empty folder to every adapter, through kills, signals, red lines and changes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.adapters.manifest import Manifest
from tests.conftest import Stage
from tests.pipeline.conftest import CONFIGS, PipelineRun
from tools.demo.tiny import TinyDemo


def trained_in(lines: list[str]) -> list[str]:
    """What the output says of each stage."""
    return [line.removeprefix("== ") for line in lines if line.startswith("== ")]


def written(pipeline: PipelineRun) -> dict[str, int]:
    """Stage to when its adapter was written, where it was."""
    names = [name for name in pipeline.stages if pipeline.adapter(name).is_dir()]
    return {name: (pipeline.adapter(name) / "manifest.json").stat().st_mtime_ns for name in names}


def test_a_pipeline_that_is_killed_in_the_middle_finishes_when_started_again(
    pipeline: PipelineRun, capsys: pytest.CaptureFixture[str]
) -> None:
    names = list(CONFIGS)
    killed = names[2]
    pipeline.overlays[killed]["trainer"]["callbacks"][-1]["init_args"]["folder"] = str(pipeline.folder)
    for name in names:
        if name != killed:
            pipeline.overlays[name]["trainer"]["callbacks"].pop()
    pipeline.write()
    pipeline.hold(True)
    process = pipeline.start()
    pipeline.held(process)
    os.killpg(process.pid, signal.SIGKILL)
    assert pipeline.finish(process)[0] == -signal.SIGKILL
    pipeline.hold(False)
    before = written(pipeline)
    assert list(before) == names[:2]

    code, lines = pipeline.finish()
    assert code == 0, lines
    said = trained_in(lines)
    assert [line.split(":")[0] for line in said] == names
    assert ["finished already" in line for line in said] == [True, True, *[False] * (len(names) - 2)]
    assert "step=1.ckpt" in said[2] or "last.ckpt" in said[2]
    assert all(line.endswith("begins") for line in said[3:])
    assert {name: written(pipeline)[name] for name in before} == before

    manifests = {name: pipeline.manifest(name) for name in names}
    base = manifests.pop("base-sft")
    assert base.parent is None
    for name, manifest in manifests.items():
        assert (manifest.name, manifest.steps, manifest.stop) == (name, 3, None)
        assert manifest.parent is not None
        assert manifest.parent.sha256 == base.sha256
        assert manifest.metrics_before["general/nll"] == pytest.approx(base.metrics_after["general/nll"], abs=1e-5)
    assert manifests["sql"].sha256 != base.sha256

    # A finished pipeline tells its table again, and trains nothing.
    table = "\n".join(lines[next(i for i, line in enumerate(lines) if line.startswith("Each adapter")) :])
    done = written(pipeline)
    assert main(["pipeline", "-c", str(pipeline.config)]) == 0
    again = capsys.readouterr().out.strip()
    assert again.endswith(table)
    assert all("finished already" in line for line in trained_in(again.splitlines()))
    assert written(pipeline) == done
    rows = [line.split() for line in table.splitlines()]
    for name in manifests:
        assert any(row[:1] == [name] and row[1:2] == ["general/all"] for row in rows)
    match = next(row for row in rows if row[:2] == ["sql", "text2sql/match"])
    assert match[2:] == [f"{value:.3f}" for value in (0, 0)] + ["+0.000"]
    results = json.loads((pipeline.state / "results.json").read_text())
    assert list(results) == names
    assert results["fc"]["after"] == manifests["fc"].metrics_after
    assert "| sql | text2sql/match | 0.000 | 0.000 | +0.000 |" in (pipeline.state / "results.md").read_text()


@pytest.fixture
def short(demo: TinyDemo, trained: Stage, tmp_path: Path) -> PipelineRun:
    """A pipeline of one SQL stage, which starts from an adapter that lies there."""
    pipeline = PipelineRun(demo, tmp_path, ["sql"])
    shutil.copytree(trained.folder / "adapters" / "base-sft", pipeline.adapter("base-sft"))
    pipeline.overlays["sql"]["model"]["init_args"]["quantization"] = "nf4"
    pipeline.write()
    return pipeline


def test_a_signal_stops_it_with_4_and_what_changed_is_trained_anew(
    short: PipelineRun, capfd: pytest.CaptureFixture[str]
) -> None:
    short.hold(True)
    process = short.start()
    short.held(process)
    assert main(["pipeline", "-c", str(short.config)]) == 2  # one at a time
    assert f"another pipeline works there (process {process.pid})" in capfd.readouterr().err
    process.send_signal(signal.SIGTERM)
    short.hold(False)
    code, lines = short.finish(process)
    assert code == 4, lines
    assert lines[-1].startswith("SIGTERM: stopped in stage sql; the same command goes on from ")
    checkpoint = lines[-1].rpartition(" ")[2]
    assert Path(checkpoint).is_file()
    assert not short.adapter("sql").exists()

    assert main(["pipeline", "-c", str(short.config)]) == 0
    assert f"== sql: goes on from {checkpoint}" in capfd.readouterr().out
    first = short.manifest("sql")
    assert first.steps == 3

    # Its records change, and with the same command every line of its regression is crossed.
    with open(short.records("general_regression"), "a", encoding="utf-8") as records:
        general = json.loads(short.demo.file("general_regression").read_text().splitlines()[0])
        records.writelines(json.dumps(general | {"id": f"more-{i}"}) + "\n" for i in range(7))
    changes = {"tasks": {"custom": [{"class_path": "tests.modules.replay.DroppingGeneral", "init_args": {"right": 8}}]}}
    overlay = short.folder / "dropping.yaml"
    overlay.write_text(json.dumps(changes))
    command = ["pipeline", "-c", str(short.config), "-c", str(overlay)]
    assert main(command) == 3
    said = capfd.readouterr()
    assert f"== sql: trains anew: its config changed, {short.records('general_regression')}" in said.out
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("stage sql: red line: the run ended beyond it: general/all went from 1.000")
    stopped = short.manifest("sql")
    assert stopped.stop is not None
    assert stopped.stop in last
    assert stopped.steps == 0
    assert main(command) == 3  # nothing has changed: it is not trained again
    assert capfd.readouterr().err.strip().splitlines()[-1] == last
    assert Manifest.read(short.adapter("sql")) == stopped
