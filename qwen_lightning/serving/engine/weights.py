"""The backbone's linear layers with several adapters beside them, each for rows of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from qwen_lightning.errors import AdapterError
from qwen_lightning.models.backbone import decoder_of
from qwen_lightning.models.policy import LoRASettings
from qwen_lightning.rollout.grouped.nf4 import NF4Linear, Scratch
from qwen_lightning.rollout.grouped.weights import LayerWeights, Projection

BARE = -1  # in place of a slot: rows of the bare backbone
_LONG_RUN = 32  # rows of a run from which products of its own cost less than the other adapters' share of common ones
_PEFT_NAME = "base_model.model.{}.lora_{}.weight"


class Routing:
    """Which adapter each row of a forward pass goes through; all projections share one."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int, int]] = []  # slot, first row, end
        self.apart = True  # whether each run has products of its own
        self.slots = 0  # those that common products take, from the first on
        self.foreign = torch.empty(0)  # (rows, slots, 1), True where the row is not that slot's

    def set(self, slots: Sequence[int], device: torch.device) -> None:
        """Route rows, in order; `BARE` goes through none."""
        self.runs, end = [], 0
        for slot, rows in groupby(slots):
            start, end = end, end + sum(1 for _ in rows)
            self.runs.append((slot, start, end))
        self.apart = len(self.runs) == 1 or len(slots) >= _LONG_RUN * len(self.runs)
        if not self.apart:
            self.slots = max(slots) + 1
            own = torch.tensor(slots, device=device)[:, None]
            self.foreign = (own != torch.arange(self.slots, device=device))[:, :, None]


class ServedWeights:
    """The backbone's layers, and slots for adapters beside them.

    A batch is multiplied with the adapters of all slots in one product, and each row's foreign ones are masked, unless
    the adapters' runs of rows are long. Base weights stay as they are; unquantised ones with a common input are laid
    side by side in memory, the modules keeping views.

    Args:
        backbone: The model, without adapters of its own.
        ranks: Of each adapter that will be loaded, its modules' ranks by name; slots have room for any of them.
        slots: Adapters that lie on the backbone at once.
    """

    def __init__(self, backbone: PreTrainedModel, ranks: Iterable[Mapping[str, int]], slots: int) -> None:
        self.slots, self.routing = slots, Routing()
        self._dtype = backbone.dtype
        self._scratch: Scratch | None = None
        self._ranks = list(ranks)
        self._names = {module: name for name, module in backbone.named_modules()}
        self._projections: list[_Routed] = []
        decoder: Any = decoder_of(backbone)
        self.layers = [LayerWeights.of(layer, self._projection) for layer in decoder.layers]

    def load(self, slot: int, state: Mapping[str, Tensor], lora: LoRASettings, folder: Path) -> None:
        """Lay an adapter into a slot.

        Args:
            slot: Where to.
            state: Its weights by peft's names.
            lora: Its shape.
            folder: Where it comes from, for faults.

        Raises:
            AdapterError: It adapts other modules than the decoder's linear layers, or does not fit them.
        """
        names = {name for projection in self._projections for name in projection.factor_names()}
        strange = sorted(state.keys() - names)
        if strange:
            raise AdapterError(f"{folder}: the backbone has no linear layer for {strange[0]}; check target_modules")
        for projection in self._projections:
            projection.load(slot, state, lora.alpha / lora.r, folder)

    def _projection(self, modules: list[nn.Module]) -> Projection:
        names = [self._names[module] for module in modules]
        room = max((sum(own.get(name, 0) for name in names) for own in self._ranks), default=0)
        projection = _Routed(modules, names, self._base(modules), self.slots, room, self._dtype, self.routing)
        self._projections.append(projection)
        return projection

    def _base(self, modules: list[nn.Module]) -> Projection:
        if NF4Linear.takes(modules):
            if self._scratch is None:
                self._scratch = Scratch(_weight(modules[0]).device, self._dtype)
            return NF4Linear(modules, self._scratch)  # type: ignore[arg-type]  # as `takes` has found
        if len(modules) == 1:
            return modules[0]
        if all(type(module) is nn.Linear for module in modules):
            return _side_by_side(modules)
        return lambda x: torch.cat([module(x) for module in modules], -1)


class _Routed:
    """Linear layers with a common input, and the adapters' products for the rows that are theirs."""

    def __init__(
        self,
        modules: Sequence[nn.Module],
        names: Sequence[str],
        base: Projection,
        slots: int,
        room: int,
        dtype: torch.dtype,
        routing: Routing,
    ) -> None:
        self.names, self.base, self.room, self.routing = names, base, room, routing
        self.sizes = [int(module.out_features) for module in modules]  # type: ignore[arg-type]
        self.inputs = int(modules[0].in_features)  # type: ignore[arg-type]
        device = _weight(modules[0]).device
        # Slot by slot, in each the modules' ranks one after the other; zero outside each module's own block.
        self.down = torch.zeros(self.inputs, slots * room, dtype=dtype, device=device)
        self.up = torch.zeros(slots * room, sum(self.sizes), dtype=dtype, device=device)

    def factor_names(self) -> list[str]:
        """Peft's names of all factors that there may be."""
        return [_PEFT_NAME.format(name, factor) for name in self.names for factor in "AB"]

    def load(self, slot: int, state: Mapping[str, Tensor], scaling: float, folder: Path) -> None:
        """Lay an adapter's factors into a slot."""
        down, up = (part.zero_() for part in self._slot(slot))
        row = column = 0
        for name, size in zip(self.names, self.sizes, strict=True):
            a, b = (state.get(_PEFT_NAME.format(name, factor)) for factor in "AB")
            if a is not None and b is not None:
                rank = len(a)
                if a.shape != (rank, self.inputs) or b.shape != (size, rank) or row + rank > self.room:
                    raise AdapterError(
                        f"{folder}: factors of {name} are {tuple(a.shape)} and {tuple(b.shape)}, and do not fit its "
                        f"({size}, {self.inputs}) or a rank that the server had at its start; check the model"
                    )
                down[:, row : row + rank] = a.T
                up[row : row + rank, column : column + size] = scaling * b.T
                row += rank
            elif a is not b:
                raise AdapterError(f"{folder}: {name} has one LoRA factor without the other; copy the adapter anew")
            column += size

    def __call__(self, x: Tensor) -> Tensor:
        result = self.base(x)
        if not self.room:
            return result
        routing = self.routing
        if routing.apart:
            for slot, start, end in routing.runs:
                if slot != BARE:
                    down, up = self._slot(slot)
                    result[start:end].addmm_(x[start:end] @ down, up)
            return result
        width = routing.slots * self.room
        inner = (x @ self.down[:, :width]).view(len(x), routing.slots, self.room)
        return result.addmm_(inner.masked_fill_(routing.foreign, 0).view(len(x), width), self.up[:width])

    def _slot(self, slot: int) -> tuple[Tensor, Tensor]:
        part = slice(slot * self.room, (slot + 1) * self.room)
        return self.down[:, part], self.up[part]


def _side_by_side(modules: Sequence[nn.Module]) -> Projection:
    """One product for linear layers with a common input; their weights become views of one matrix."""
    sizes = [len(_weight(module)) for module in modules]
    weight = torch.cat([_weight(module).data for module in modules])
    for module, part in zip(modules, weight.split(sizes), strict=True):
        _weight(module).data = part
    biases: list[Any] = [module.bias for module in modules]
    bias = None
    if any(own is not None for own in biases):
        bias = torch.cat(
            [weight.new_zeros(size) if own is None else own.data for own, size in zip(biases, sizes, strict=True)]
        )
    return lambda x: functional.linear(x, weight, bias)


def ranks_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Rank of each module that an adapter changes, by the module's name."""
    start, end = _PEFT_NAME.format("\0", "A").split("\0")
    return {
        name.removeprefix(start).removesuffix(end): len(factor) for name, factor in state.items() if name.endswith(end)
    }


def _weight(module: nn.Module) -> Any:
    return module.weight
