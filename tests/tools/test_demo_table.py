"""The demo's table measures each stage with its own adapter, and says what changed."""

import pytest
import torch

from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.adapters.store import save_adapter
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from tools.demo.table import ROWS, Measures, before_and_after, measure, over_seeds
from tools.demo.tiny import make_tiny


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measures]:
    """Base-SFT is the untouched base here, and the SQL adapter a random one."""
    demo = make_tiny(tmp_path_factory.mktemp("demo"))
    lora = LoRASettings(r=4, alpha=8)
    policy = PolicyModel(load_backbone(str(demo.base), "none", "float32"), lora)
    for name in ("base-sft", "sql"):
        manifest = Manifest(name=name, stage="sft", base_model=str(demo.base), quantization="none")
        state = policy.adapter_state()
        if name == "sql":
            torch.manual_seed(0)
            state = {key: torch.randn_like(value) for key, value in state.items()}
        save_adapter(demo.root / "adapters" / name, state, lora, manifest)
    return measure(demo.root, max_new_tokens=4)


def test_every_stage_is_measured_with_its_own_adapter(measured: dict[str, Measures]) -> None:
    assert list(measured) == ["base", "sft", "sql"]
    assert all(set(values) == set(ROWS) for values in measured.values())
    assert measured["base"] == pytest.approx(measured["sft"])
    assert abs(measured["sql"]["general_nll"] - measured["sft"]["general_nll"]) > 0.01


def test_a_random_model_matches_nothing(measured: dict[str, Measures]) -> None:
    assert [measured["base"][name] for name in ("match_new", "match_seen", "others")] == [0.0, 0.0, 0.0]


def stage(match: float) -> Measures:
    return {"match_new": match, "match_seen": 0.5, "general": 0.9, "general_nll": 0.25, "others": 0.3}


def test_table_of_one_run() -> None:
    table = before_and_after({"base": stage(0.1), "sft": stage(0.4), "sql": stage(0.55)}).splitlines()
    assert table[0] == "| | base | Base-SFT | SQL (GRPO) |"
    assert table[2] == "| SQL match, databases never trained on | 10.0% | 40.0% | 55.0% |"
    assert table[5] == "| general, NLL of the answer (nats a token) | 0.250 | 0.250 | 0.250 |"


def test_table_over_seeds_gives_each_gain_and_the_mean() -> None:
    runs = {"0": {"sft": stage(0.4), "sql": stage(0.55)}, "1": {"sft": stage(0.5), "sql": stage(0.45)}}
    table = over_seeds(runs).splitlines()
    assert "40.0% → 55.0%" in table[2]
    assert [line.split("|")[-2].strip() for line in table[2:]] == ["+15.0", "-5.0", "+5.0"]
