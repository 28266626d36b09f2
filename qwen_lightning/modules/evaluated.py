"""EvaluatedModule: what the trainer runs to validate, test and predict with the policy in training."""

from __future__ import annotations

from functools import cached_property

from lightning import LightningModule

from qwen_lightning.data.batches import EvalBatch
from qwen_lightning.evaluation.evaluator import Evaluator
from qwen_lightning.metrics.verdicts import VerdictMetrics


class EvaluatedModule(LightningModule):
    """Completes records greedily; `val/` and `test/` metrics are the means of their verdicts over all ranks."""

    def __init__(self) -> None:
        super().__init__()
        self._metrics = VerdictMetrics()

    @cached_property
    def evaluator(self) -> Evaluator:
        """Evaluation of the policy with greedy completions."""
        raise NotImplementedError

    def on_validation_epoch_start(self) -> None:
        self._metrics.reset()

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:
        for row in self.evaluator.run(batch.records):
            self._metrics.update([row])

    def on_validation_epoch_end(self) -> None:
        self.log_dict({f"val/{name}": value for name, value in self._metrics.compute().items()})

    def on_test_epoch_start(self) -> None:
        self.on_validation_epoch_start()

    def test_step(self, batch: EvalBatch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self.log_dict({f"test/{name}": value for name, value in self._metrics.compute().items()})

    def predict_step(self, batch: EvalBatch, batch_idx: int) -> list[dict[str, str]]:
        texts = self.evaluator.complete(batch.records)
        return [{"id": record.id, "completion": text} for record, text in zip(batch.records, texts, strict=True)]
