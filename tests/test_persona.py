"""PERSONA: SFT on its own, its description first, and never near GRPO."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qwen_lightning.__main__ import main
from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.tasks.registry import TaskRegistry
from tests.conftest import Stage


def persona_changes(stage: Stage, **data: list[str]) -> dict:
    """What makes configs/persona.yaml run on the tiny demo."""
    changes = stage.changes("sft", 2, "persona")
    del changes["tasks"]
    for unused in ("general_sft", "task_sft"):
        del changes["data"]["init_args"][unused]
    changes["data"]["init_args"] |= {"task_sft": [str(stage.demo.file("persona_sft"))], **data}
    changes["model"]["init_args"]["adapter"] = str(stage.folder / "adapters" / "base-sft")
    for callback in changes["trainer"]["callbacks"]:
        if callback["class_path"] == "AdapterCheckpoint":
            callback["init_args"] = {"dirpath": str(stage.folder / "adapters" / "persona"), "name": "persona"}
    return changes


def fit_persona(stage: Stage, **data: list[str]) -> int:
    return main(["fit", "-c", "configs/persona.yaml", "-c", stage.overlay("persona", persona_changes(stage, **data))])


@pytest.fixture
def with_sft(trained: Stage, stage: Stage) -> Stage:
    """A fresh folder with the trained Base-SFT adapter in it."""
    shutil.copytree(trained.folder / "adapters", stage.folder / "adapters")
    return stage


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_its_description_comes_first(stage: Stage) -> None:
    tasks = TaskRegistry()
    for item in tasks.reader.read(stage.demo.file("persona_sft")):
        messages = tasks["persona"].prompt(item.record).messages
        assert messages[0] == {"role": "system", "content": item.record.history[0].content}
        assert [message["role"] for message in messages[1:]] == ["user"]


def test_it_starts_as_a_copy_of_base_sft_and_grpo_refuses_it(
    with_sft: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit_persona(with_sft) == 0
    adapters = with_sft.folder / "adapters"
    manifest, parent = Manifest.read(adapters / "persona"), Manifest.read(adapters / "base-sft")
    assert (manifest.name, manifest.stage, manifest.tasks) == ("persona", "sft", ["persona"])
    assert manifest.parent is not None
    assert manifest.parent.sha256 == parent.sha256
    assert manifest.inherited_tasks == parent.tasks
    assert manifest.metrics_before["general/nll"] == pytest.approx(parent.metrics_after["general/nll"], abs=1e-5)
    assert manifest.is_persona
    assert not parent.is_persona

    capsys.readouterr()
    assert with_sft.fit("grpo", 1, None, "--model.adapter", str(adapters / "persona")) == 2
    assert "persona never meets GRPO" in last_error(capsys)

    # Another name, and another stage between, make it no other adapter.
    changes = with_sft.changes("sft", 1, "between")
    changes["model"]["init_args"]["adapter"] = str(adapters / "persona")
    for callback in changes["trainer"]["callbacks"]:
        if callback["class_path"] == "AdapterCheckpoint":
            callback["init_args"] = {"dirpath": str(adapters / "between"), "name": "between"}
    assert main(["fit", "-c", "configs/sft.yaml", "-c", with_sft.overlay("between", changes)]) == 0
    between = Manifest.read(adapters / "between")
    assert "persona" not in between.tasks
    assert "persona" in between.inherited_tasks
    capsys.readouterr()
    assert with_sft.fit("grpo", 1, None, "--model.adapter", str(adapters / "between")) == 2
    assert "persona never meets GRPO" in last_error(capsys)


@pytest.mark.parametrize(("bucket", "named"), [("task_sft", "text2sql|slot|rewrite|call"), ("general_sft", "general")])
def test_no_other_record_stands_beside_it(
    with_sft: Stage, capsys: pytest.CaptureFixture[str], bucket: str, named: str
) -> None:
    files = [str(with_sft.demo.file(bucket))]
    if bucket == "task_sft":
        files.append(str(with_sft.demo.file("persona_sft")))
    assert fit_persona(with_sft, **{bucket: files}) == 2
    assert "persona is trained alone" in last_error(capsys)


@pytest.mark.parametrize("bucket", ["prompts", "general_prompts"])
def test_its_records_are_refused_in_grpo_data(
    with_sft: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str], bucket: str
) -> None:
    name = "grpo_sql" if bucket == "prompts" else "general_sft"
    mixed = tmp_path / "mixed.jsonl"
    lines = with_sft.demo.file(name).read_text().splitlines()
    record = json.loads(with_sft.demo.file("persona_sft").read_text().splitlines()[0])
    mixed.write_text("\n".join([*lines, json.dumps(record)]) + "\n")
    assert with_sft.fit("grpo", 1, None, f"--data.{bucket}=[{mixed}]") == 2
    error = last_error(capsys)
    assert error.startswith(f"{mixed}:{len(lines) + 1}: ")
    assert "persona" in error
