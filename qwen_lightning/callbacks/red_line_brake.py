"""RedLineBrake: acts on the run when a regression metric drops significantly."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from qwen_lightning.callbacks.progress import RunProgress
from qwen_lightning.callbacks.regression_eval import RegressionEval
from qwen_lightning.callbacks.signals import interrupted
from qwen_lightning.errors import ConfigError, RedLineStop
from qwen_lightning.modules.base import AdapterModule
from qwen_lightning.modules.grpo import GRPOModule
from qwen_lightning.regression.ladder import Action, Decision, Ladder, LadderState
from qwen_lightning.regression.red_lines import RedLine
from qwen_lightning.regression.scores import ScoreRow, by_metric

log = logging.getLogger(__name__)


@dataclass
class LastGood:
    """The last adapter with which every line held.

    Args:
        step: Optimizer step.
        weights: By peft's names, on the CPU.
        rows: Its regression scores.
    """

    step: int
    weights: dict[str, torch.Tensor]
    rows: list[ScoreRow]


class RedLineBrake(Callback):
    """Judges every evaluation of `RegressionEval` and climbs the ladder: KL up, learning rate down, stop.

    SFT has no KL term, so its ladder starts at the learning rate. Rank 0 decides, all ranks act in the same step.

    Args:
        lines: What may not drop, and by how much.
        kl_factor: What one step up multiplies the KL weight by.
        lr_factor: What one step up multiplies the learning rate by.
        task_metric: Metric that training raises, such as `text2sql/match`: where it rises while a line is
            crossed, the ladder goes straight to the learning rate.
    """

    def __init__(
        self, lines: list[RedLine], kl_factor: float = 2.0, lr_factor: float = 0.5, task_metric: str | None = None
    ) -> None:
        self.lines, self.kl_factor, self.lr_factor, self.task_metric = lines, kl_factor, lr_factor, task_metric
        self._ladder(("raise_kl", "lower_lr", "stop"))  # wrong settings are told before a model is loaded
        self.stop: RedLineStop | None = None
        self.last_good: LastGood | None = None
        self.history: list[dict[str, Any]] = []
        self._state: LadderState | None = None
        self._judged = -1  # step of the latest evaluation judged
        self._crossed = ""  # what that evaluation crossed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._regression(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, AdapterModule)
        regression = self._regression(trainer)
        self.ladder = self._ladder(
            ("raise_kl", "lower_lr", "stop") if isinstance(pl_module, GRPOModule) else ("lower_lr", "stop")
        )
        if self._state is None:
            self._state = self.ladder.start(by_metric(regression.baseline))
            self._keep(pl_module, regression)
        if self.stop is not None:  # a run that goes on from the checkpoint of a stop has only its end left
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._judge(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if interrupted(trainer):
            return
        self._judge(trainer, pl_module)
        if self._crossed and self.stop is None:
            # No step is left in which an action could work: the run must not publish what crossed a line.
            self.stop = self._stop_with(f"the run ended beyond it: {self._crossed}", trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        good = self.last_good
        return {
            "ladder": None if self._state is None else self._state.state_dict(),
            "judged": self._judged,
            "crossed": self._crossed,
            "history": self.history,
            "stop": None if self.stop is None else str(self.stop),
            "last_good": None
            if good is None
            else {"step": good.step, "weights": good.weights, "rows": [row.to_dict() for row in good.rows]},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        ladder, good = state_dict["ladder"], state_dict["last_good"]
        self._state = None if ladder is None else LadderState.from_state(ladder)
        self._judged, self._crossed = state_dict["judged"], state_dict["crossed"]
        self.history = state_dict["history"]
        if state_dict["stop"] is not None:
            self.stop = RedLineStop(state_dict["stop"])
        if good is not None:
            self.last_good = LastGood(good["step"], good["weights"], [ScoreRow.from_dict(row) for row in good["rows"]])

    def _judge(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, AdapterModule)
        assert self._state is not None
        regression = self._regression(trainer)
        if regression.step == self._judged:
            return
        decision: Decision | None = None
        if trainer.is_global_zero:
            decision = self.ladder.decide(
                self._state, by_metric(regression.baseline), by_metric(regression.latest), regression.step
            )
        decision = trainer.strategy.broadcast(decision)
        assert decision is not None
        self._state, self._judged = decision.state, regression.step
        self._crossed = next((str(report.crossing) for report in decision.reports if report.crossing), "")
        if decision.holds:
            self._keep(pl_module, regression)
        for action in decision.actions:
            self._act(action, trainer, pl_module)
        self._report(decision, trainer)

    def _act(self, action: Action, trainer: Trainer, module: AdapterModule) -> None:
        self.history.append(action.to_dict())
        if isinstance(module, GRPOModule):
            module.brake_factor = action.kl_factor
        module.scale_learning_rate(action.lr_factor / module.lr_factor)
        if action.kind == "stop":
            self.stop = self._stop_with(action.reason, action.step)
            trainer.should_stop = True
        if trainer.is_global_zero:
            log.warning("%s", action)
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_text("brake", str(action), action.step)

    def _stop_with(self, reason: str, step: int) -> RedLineStop:
        assert self.last_good is not None
        return RedLineStop(
            f"red line: {reason}; stopped at step {step}, "
            f"the adapter of step {self.last_good.step} is the last good one"
        )

    def _report(self, decision: Decision, trainer: Trainer) -> None:
        kl, lr = self.ladder.factors(decision.state)
        level = len(decision.state.applied)
        values = {"brake/level": level, "brake/kl_factor": kl, "brake/lr_factor": lr}
        for report in decision.reports:
            values |= {
                f"brake/{report.line.metric}": report.comparison.after,
                f"brake/{report.line.metric}/bound": report.bound,
            }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=self._judged)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, RunProgress):
                callback.note = f"{level}/{len(self.ladder.steps)}" if level else ""

    def _keep(self, module: AdapterModule, regression: RegressionEval) -> None:
        weights = {name: tensor.detach().cpu().clone() for name, tensor in module.policy.adapter_state().items()}
        self.last_good = LastGood(max(regression.step, 0), weights, regression.latest)

    def _ladder(self, steps: tuple[Any, ...]) -> Ladder:
        return Ladder(self.lines, steps, self.kl_factor, self.lr_factor, self.task_metric)

    @staticmethod
    def _regression(trainer: Trainer) -> RegressionEval:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, RegressionEval):
                return callback
            if isinstance(callback, RedLineBrake):
                break
        raise ConfigError("RedLineBrake needs RegressionEval before it in trainer.callbacks")
