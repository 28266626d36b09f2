"""The demo's GRPO step on SQL, with the sizes of configs/demo/grpo_sql.yaml."""

from __future__ import annotations

from itertools import chain, islice, repeat
from pathlib import Path

from qwen_lightning.adapters.store import load_adapter
from qwen_lightning.data.batches import GRPOBatch
from qwen_lightning.data.grpo import GRPODataModule
from qwen_lightning.execution.sql.executors import DuckDBExecutor
from qwen_lightning.losses.grpo import GRPOLoss
from qwen_lightning.models.backbone import Quantization, load_backbone
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from qwen_lightning.rewards.table import RewardTable
from qwen_lightning.rollout.base import RolloutEngine
from qwen_lightning.tasks.registry import TaskRegistry
from tools.bench.grpo import GRPOSettings, given_module
from tools.bench.harness import GivenGRPO
from tools.bench.options import Options

PROMPTS, SAMPLES, NEW_TOKENS = 16, 8, 40
CASE = f"demo {PROMPTS}x{SAMPLES}:sql/{NEW_TOKENS}"


def demo_policy(options: Options, quantization: Quantization) -> PolicyModel:
    """The demo's model with its Base-SFT adapter as policy and reference.

    Raises:
        ConfigError: There is no model in the folder.
        AdapterError: There is no adapter, or it does not fit.
    """
    folder: Path = options.demo
    start, shape, _ = load_adapter(folder / "adapters" / "base-sft")
    lora = LoRASettings(shape.r, shape.alpha, 0.0, shape.target_modules)
    backbone = load_backbone(str(folder / "base"), quantization, options.dtype, options.device)
    return PolicyModel(backbone, lora, start, with_reference=True).to(options.device)


def demo_run(
    options: Options, policy: PolicyModel, engine: RolloutEngine, shared: bool, steps: int
) -> tuple[GivenGRPO, list[GRPOBatch]]:
    """The module and the batches of the run's first steps, the same each time."""
    folder: Path = options.demo
    tasks = TaskRegistry(sql=DuckDBExecutor(folder / "databases", workers=2))
    data = GRPODataModule(
        tasks=tasks,
        tokenizer=str(folder / "base"),
        prompts=[str(folder / "data" / "grpo_sql.jsonl")],
        general_prompts=[str(folder / "data" / "general_sft.jsonl")],
        prompts_per_step=PROMPTS,
        max_completion_length=NEW_TOKENS,
        seed=options.seed,
    )
    data.setup("fit")
    loss = GRPOLoss(epsilon_high=0.28, mismatch="truncate")
    settings = GRPOSettings(SAMPLES, NEW_TOKENS, tasks, RewardTable(), loss)
    module = given_module(options, policy, data.renderer, engine, shared, settings)
    # A loader goes on where it was left, epoch after epoch.
    return module, list(islice(chain.from_iterable(repeat(data.train_dataloader())), steps))
