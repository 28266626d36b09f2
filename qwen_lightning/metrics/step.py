"""StepMetrics: the losses' metrics, joined over micro-batches, optimizer steps and ranks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from qwen_lightning.losses.base import LossOutput


class StepMetrics:
    """Adds up what the losses of one training step report.

    A mean is a sum and a count until the end, so that a token weighs the same in whichever micro-batch and on
    whichever rank it lies. `loss` is the mean of the optimizer steps' losses, `gradient_norm` of their norms.

    >>> metrics = StepMetrics()
    >>> one = LossOutput(torch.tensor(0.5), {"kl": torch.tensor([3.0, 4.0]), "ratio_max": torch.tensor(1.5)})
    >>> two = LossOutput(torch.tensor(0.25), {"kl": torch.tensor([1.0, 1.0]), "ratio_max": torch.tensor(1.25)})
    >>> metrics.update([one, two], torch.tensor(2.0))
    >>> {name: value.item() for name, value in metrics.compute().items()}
    {'gradient_norm': 2.0, 'kl': 0.8, 'loss': 0.75, 'ratio_max': 1.5}
    """

    def __init__(self) -> None:
        self._means: dict[str, Tensor] = {}
        self._maxima: dict[str, Tensor] = {}

    def update(self, outputs: Iterable[LossOutput], gradient_norm: Tensor | float | None = None) -> None:
        """Add one optimizer step.

        Args:
            outputs: Of all its micro-batches on this rank; every rank has the same metrics.
            gradient_norm: Before clipping.
        """
        loss: Tensor | None = None
        for output in outputs:
            value = output.loss.detach().double()
            loss = value if loss is None else loss + value
            for name, metric in output.metrics.items():
                self._add(name, metric)
        if loss is not None:
            self._add("loss", torch.stack([loss, torch.ones_like(loss)]))
            if gradient_norm is not None:
                norm = torch.as_tensor(gradient_norm, device=loss.device).detach().double()
                self._add("gradient_norm", torch.stack([norm, torch.ones_like(norm)]))

    def add(self, name: str, values: Tensor) -> None:
        """Add values of any shape to the mean of a metric.

        Args:
            name: The metric's.
            values: On the device that ranks reduce on.
        """
        total = values.detach().double().sum()
        self._add(name, torch.stack([total, torch.full_like(total, values.numel())]))

    def compute(self) -> dict[str, Tensor]:
        """Metric name to value (), over all ranks; every rank must call it. A mean of nothing is left out."""
        means, maxima = sorted(self._means), sorted(self._maxima)
        result: dict[str, Tensor] = {}
        if means:
            sums = torch.stack([self._means[name] for name in means])
            _reduce(sums, dist.ReduceOp.SUM)
            counts = sums[:, 1].tolist()
            result |= {name: sums[i, 0] / counts[i] for i, name in enumerate(means) if counts[i] > 0}
        if maxima:
            largest = torch.stack([self._maxima[name] for name in maxima])
            _reduce(largest, dist.ReduceOp.MAX)
            known = (largest != -torch.inf).tolist()
            result |= {name: largest[i] for i, name in enumerate(maxima) if known[i]}
        return dict(sorted(result.items()))

    def _add(self, name: str, metric: Tensor) -> None:
        value = metric.detach().double()
        if value.shape == (2,):
            self._means[name] = self._means[name] + value if name in self._means else value
        elif value.shape == ():
            self._maxima[name] = torch.maximum(self._maxima[name], value) if name in self._maxima else value
        else:
            raise ValueError(f"metric {name} is {tuple(value.shape)}; a sum with its count is (2,), a maximum ()")


def _reduce(values: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values, op=operation)
