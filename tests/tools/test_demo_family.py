"""The family's table measures each column with its own adapter, and marks what each adapter is for."""

import pytest
import torch

from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.adapters.store import save_adapter
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from tools.demo.family import ADAPTERS, COLUMNS, ROWS, Measures, gains, measure, table
from tools.demo.tiny import make_tiny


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measures]:
    """Base-SFT and all adapters but the persona are the untouched base here, and the persona a random one."""
    demo = make_tiny(tmp_path_factory.mktemp("demo"))
    lora = LoRASettings(r=4, alpha=8)
    policy = PolicyModel(load_backbone(str(demo.base), "none", "float32"), lora)
    for name in ("base-sft", *ADAPTERS):
        manifest = Manifest(name=name, stage="sft", base_model=str(demo.base), quantization="none")
        state = policy.adapter_state()
        if name == "persona":
            torch.manual_seed(0)
            state = {key: torch.randn_like(value) for key, value in state.items()}
        save_adapter(demo.root / "adapters" / name, state, lora, manifest)
    return measure(demo.root, max_new_tokens=4)


def test_every_column_is_measured_with_its_own_adapter(measured: dict[str, Measures]) -> None:
    assert tuple(measured) == COLUMNS
    assert all(tuple(values) == tuple(ROWS) for values in measured.values())
    untouched = measured["base"]["persona_nll"]
    for name in COLUMNS:
        same = measured[name]["persona_nll"] == pytest.approx(untouched)
        assert same == (name != "persona")


def test_a_random_model_matches_nothing(measured: dict[str, Measures]) -> None:
    own = [name for name, row in ROWS.items() if row.measure in ("match", "exact", "f1")]
    assert {measured["base"][name] for name in own} == {(0.0, 0.0)}


def results() -> dict[str, Measures]:
    column: Measures = dict.fromkeys(ROWS, (0.25, 0.0256))
    return {name: column | {name: (0.75, 0.025)} for name in COLUMNS}


def test_each_adapters_own_metrics_stand_out() -> None:
    lines = table(results()).splitlines()
    assert lines[0] == "| | base | base-sft | persona | fc | slot | sql | cypher |"
    (calls,) = (line for line in lines if line.startswith("| function calls"))
    assert calls == "| function calls: match | 25.0% | 25.0% | 25.0% | **75.0%** | 25.0% | 25.0% | 25.0% |"
    assert sum(line.count("**") for line in lines) == 2 * sum(bool(row.adapter) for row in ROWS.values())


def test_gains_have_standard_errors() -> None:
    lines = gains(results()).splitlines()
    assert "| sql | SQL: match on new databases | 25.0% ± 2.6% | 75.0% ± 2.5% |" in lines
    assert len(lines) == 2 + sum(bool(row.adapter) for row in ROWS.values())
