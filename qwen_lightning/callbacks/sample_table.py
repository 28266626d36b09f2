"""Sample completions with their verdicts, as a table in TensorBoard."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from qwen_lightning.errors import ConfigError
from qwen_lightning.modules.grpo import GRPOModule


class SampleTable(Callback):
    """Writes the completions of the latest rollout's first groups under TensorBoard's `samples`.

    Args:
        every_n_steps: Steps between two tables.
        groups: Prompts shown.
        completions: Completions shown of each.
    """

    def __init__(self, every_n_steps: int = 20, groups: int = 4, completions: int = 2) -> None:
        if every_n_steps < 1:
            raise ConfigError(f"SampleTable: every_n_steps is {every_n_steps}; it must be at least 1")
        self.every_n_steps, self.groups, self.completions = every_n_steps, groups, completions

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.is_global_zero or batch_idx % self.every_n_steps or not isinstance(pl_module, GRPOModule):
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("samples", self.table(pl_module), trainer.global_step)

    def table(self, module: GRPOModule) -> str:
        """Markdown: input, gold, completion, reward, failed checks, detail."""
        experience = module.experience
        assert experience is not None, "a step has been trained"
        lines = ["| input | gold | completion | reward | not held | detail |", "|---|---|---|---|---|---|"]
        rewards = experience.rewards.flatten().tolist()
        for group in range(min(self.groups, experience.groups)):
            for position in range(min(self.completions, experience.group_size)):
                member = group * experience.group_size + position
                record, verdict = experience.records[member], experience.verdicts[member]
                failed = ", ".join(name for name, value in verdict.checks.items() if value < 1)
                cells = [
                    record.input,
                    str(record.gold),
                    experience.texts[member],
                    f"{rewards[member]:.2f}",
                    failed,
                    verdict.detail,
                ]
                lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        return "\n".join(lines)


def _cell(text: str, limit: int = 400) -> str:
    """Text for one cell of a Markdown table."""
    text = " ".join(text.split())
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text.replace("|", "\\|").replace("<", "&lt;")
