"""VerdictMetrics: the mean of every check, over all rows of all ranks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torchmetrics import Metric

from qwen_lightning.regression.scores import ScoreRow

_NAME_BYTES = 128


class VerdictMetrics(Metric):
    """Means of score rows by metric name: `task/check`, `task/reward`, `task/nll`, `general/<ability>`.

    A check that is absent from a row counts nowhere. Names need not be known before, nor be the same on every rank:
    the state is a flat table of 130 numbers a name (its bytes, sum and count), which ranks join by appending.

    >>> metrics = VerdictMetrics()
    >>> metrics.update([ScoreRow("1", "text2sql", 3.0, {"executes": 1.0, "match": 1.0})])
    >>> metrics.update([ScoreRow("2", "text2sql", None, {"executes": 0.0})])
    >>> {name: value.item() for name, value in metrics.compute().items()}
    {'text2sql/executes': 0.5, 'text2sql/match': 1.0, 'text2sql/reward': 3.0}
    """

    full_state_update = False
    table: list[Tensor] | Tensor

    def __init__(self) -> None:
        super().__init__()
        self.set_dtype(torch.float64)  # also of the empty state that a rank without rows sends
        self.add_state("table", [], dist_reduce_fx="cat")

    def update(self, rows: Iterable[ScoreRow]) -> None:
        """Count rows.

        Raises:
            ValueError: A metric name is longer than 128 bytes.
        """
        totals = self._totals()
        for row in rows:
            for name, value in row.metrics().items():
                total, count = totals.get(name, (0.0, 0.0))
                totals[name] = (total + value, count + 1)
        numbers = [x for name, (total, count) in totals.items() for x in (*_encode(name), total, count)]
        self.table = [torch.tensor(numbers, dtype=torch.float64, device=self.device)]

    def compute(self) -> dict[str, Tensor]:
        """Metric name to mean (), float64, in the order of the names; nothing for a name that no row had."""
        totals = self._totals()
        return {
            name: torch.tensor(totals[name][0] / totals[name][1], dtype=torch.float64, device=self.device)
            for name in sorted(totals)
        }

    def _totals(self) -> dict[str, tuple[float, float]]:
        totals: dict[str, tuple[float, float]] = {}
        # A list of tensors as it grows, one tensor after ranks have joined theirs.
        pieces = [self.table] if isinstance(self.table, Tensor) else self.table
        numbers = [x for piece in pieces for x in piece.tolist()]
        for start in range(0, len(numbers), _NAME_BYTES + 2):
            line = numbers[start : start + _NAME_BYTES + 2]
            name = bytes(int(code) for code in line[:_NAME_BYTES]).rstrip(b"\0").decode()
            total, count = totals.get(name, (0.0, 0.0))
            totals[name] = (total + line[-2], count + line[-1])
        return totals


def _encode(name: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > _NAME_BYTES:
        raise ValueError(f"metric name {name!r} is longer than {_NAME_BYTES} bytes")
    return encoded.ljust(_NAME_BYTES, b"\0")
