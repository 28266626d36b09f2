"""Adapter folders of a server: whole, of one backbone, and refused by name where they are not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qwen_lightning.adapters.manifest import MANIFEST_FILE, WEIGHTS_FILE
from qwen_lightning.adapters.store import load_adapter, save_adapter
from qwen_lightning.errors import AdapterError, RequestError
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.serving.engine.adapters import AdapterLibrary, AdapterSlots
from qwen_lightning.serving.engine.engine import Engine
from qwen_lightning.serving.engine.weights import ServedWeights
from qwen_lightning.serving.generation import AdapterUnavailableError, Sampling
from tests.serving.conftest import Alone, MakeEngine
from tools.demo.tiny import TinyDemo


@pytest.fixture
def root(adapters: Path, tmp_path: Path) -> Path:
    """A copy of the three."""
    return Path(shutil.copytree(adapters, tmp_path / "adapters"))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Change an adapter's weights, manifest and all."""
    state, lora, manifest = load_adapter(folder)
    save_adapter(folder, change(state), lora, manifest)


def in_manifest(**fields: Any) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / "fc" / MANIFEST_FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def test_a_library_knows_its_adapters_and_their_backbone(root: Path, demo: TinyDemo) -> None:
    (root / ".fc.partial").mkdir()  # what a stopped write leaves
    (root / "notes.txt").write_text("not an adapter")
    library = AdapterLibrary.open(root)
    assert sorted(library) == ["fc", "slot", "sql"]
    assert library["slot"].lora.r == 8
    assert set(library["fc"].ranks.values()) == {4}
    assert {name.rpartition(".")[2] for name in library["fc"].ranks} == {"q_proj", "k_proj", "v_proj"}
    assert library.manifest is not None
    assert (library.manifest.base_model, library.manifest.quantization) == (str(demo.base), "none")
    assert AdapterLibrary([]).manifest is None


def _infinite(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return state | {name: torch.full_like(tensor, float("inf")) for name, tensor in list(state.items())[:1]}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "no such folder of adapters"),
        (lambda root: [shutil.rmtree(path) for path in root.iterdir()], "holds no adapter folder"),
        (lambda root: (root / "empty").mkdir(), f"empty: no {MANIFEST_FILE}"),
        (lambda root: (root / "fc" / WEIGHTS_FILE).write_bytes(b"half"), r"fc.*sha256"),
        (lambda root: rewrite(root / "fc", _infinite), r"fc: .* holds NaN or infinity"),
        (in_manifest(name="sql"), r"sql and .*fc both hold an adapter 'sql'"),
        (in_manifest(base_model="Qwen/Qwen3-8B"), r"slot: base_model is .*, but 'Qwen/Qwen3-8B' in .*fc;"),
        (in_manifest(base_revision="main"), r"slot: base_revision is None, but 'main' in .*fc;"),
        (in_manifest(quantization="nf4"), r"slot: quantization is 'none', but 'nf4' in .*fc; .* serve them apart"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(root: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(root)
    with pytest.raises(AdapterError, match=message) as caught:
        AdapterLibrary.open(root)
    assert "\n" not in str(caught.value)


def test_slots_in_use_are_not_given_away(root: Path, demo: TinyDemo) -> None:
    library = AdapterLibrary.open(root)
    weights = ServedWeights(
        load_backbone(str(demo.base), "none", "float32"), (folder.ranks for folder in library.values()), 2
    )
    slots = AdapterSlots(library, weights)
    first, second = slots.acquire("sql"), slots.acquire("fc")
    assert {first, second} == {0, 1}
    assert slots.acquire("sql") == first
    slots.release("sql")
    assert slots.acquire("slot") is None  # one request still goes through sql
    slots.release("sql")
    assert slots.acquire("slot") == first
    assert (slots.loaded, slots.loads) == (("fc", "slot"), 3)
    slots.release("fc")
    shutil.rmtree(root / "sql")
    with pytest.raises(AdapterError, match="sql: no such adapter folder"):
        slots.acquire("sql")
    assert slots.loaded == ("slot",)
    assert slots.acquire("fc") == second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {name.replace("layers.1", "layers.7"): t for name, t in state.items()}, "no linear layer for"),
        (lambda state: {n: torch.cat([t, t]) if "lora_B" in n else t for n, t in state.items()}, "do not fit"),
        (lambda state: dict(list(state.items())[1:]), "one LoRA factor without the other"),
    ],
)
def test_weights_that_the_backbone_does_not_take(
    make_engine: MakeEngine, root: Path, caplog: pytest.LogCaptureFixture, change: Any, message: str
) -> None:
    rewrite(root / "fc", change)
    engine = make_engine(root)
    with pytest.raises(AdapterUnavailableError, match="'fc'") as error:
        engine.submit([5], "fc", Sampling(2)).tokens()
    assert str(root) not in str(error.value)  # where it lies is no client's business
    assert re.search(f"fc: .*{message}", caplog.text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_manifest(name="cypher"), "another adapter"),
        (lambda root: rewrite(root / "fc", lambda state: {n: 2 * t for n, t in state.items()}), "other weights"),
    ],
)
def test_what_changed_since_the_start(
    make_engine: MakeEngine, root: Path, caplog: pytest.LogCaptureFixture, change: Any, message: str
) -> None:
    engine = make_engine(root)
    change(root)
    with pytest.raises(AdapterUnavailableError):
        engine.submit([5], "fc", Sampling(2)).tokens()
    assert f"fc holds {message} than at the start" in caplog.text


def test_a_backbone_without_adapters(demo: TinyDemo, prompts: list[list[int]], alone: Alone) -> None:
    engine = Engine(load_backbone(str(demo.base), "none", "float32"), AdapterLibrary([]), [])
    with pytest.raises(RequestError, match="no adapter 'sql'; there are none"):
        engine.submit(prompts[0], "sql")
    found = [token.id for token in engine.submit(prompts[0], None, Sampling(12))]
    engine.close()
    assert found[: len(alone(None, prompts[0], 12).ids)] == alone(None, prompts[0], 12).ids
