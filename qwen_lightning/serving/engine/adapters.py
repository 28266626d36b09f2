"""The adapters that a server has: checked folders, and which of them lie on the backbone now."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from qwen_lightning.adapters.store import load_adapter
from qwen_lightning.errors import AdapterError
from qwen_lightning.models.policy import LoRASettings
from qwen_lightning.serving.engine.weights import ServedWeights, ranks_of
from qwen_lightning.serving.library import Library, ServedAdapter, backbone_of


@dataclass(frozen=True, slots=True)
class AdapterFolder(ServedAdapter):
    """An adapter that can be laid onto the backbone.

    Args:
        path: Its folder.
        manifest: Its description.
        lora: Its shape.
        ranks: Rank of each module that it changes, by the module's name.
    """

    lora: LoRASettings
    ranks: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> tuple[AdapterFolder, dict[str, Tensor]]:
        """The adapter and its weights by peft's names.

        Raises:
            AdapterError: The folder is no adapter, corrupt, or holds weights that are no numbers.
        """
        state, lora, manifest = load_adapter(path)
        for name, tensor in state.items():
            # One adapter's infinity would become another's NaN: a batch is multiplied with all of them, and masked.
            if not bool(torch.isfinite(tensor).all()):
                raise AdapterError(f"{path}: {name} holds NaN or infinity; train or copy the adapter anew")
        return cls(path, manifest, lora, ranks_of(state)), state


class AdapterLibrary(Library[AdapterFolder]):
    """Adapters whose weights are read and checked; see `Library`."""

    def _read(self, path: Path) -> AdapterFolder:
        return AdapterFolder.read(path)[0]


class AdapterSlots:
    """Which adapters lie in the weights' slots: the one that was used longest ago makes room.

    Args:
        library: What can be loaded.
        weights: Where to.
    """

    def __init__(self, library: AdapterLibrary, weights: ServedWeights) -> None:
        self.library, self.weights = library, weights
        self.loads = 0
        self.loaded: tuple[str, ...] = ()  # the latest used last
        self._loaded: OrderedDict[str, int] = OrderedDict()  # name to slot
        self._users: Counter[str] = Counter()

    def available(self, name: str) -> bool:
        """Whether `acquire` would find a slot."""
        return (
            name in self._loaded
            or len(self._loaded) < self.weights.slots
            or not all(self._users[other] for other in self._loaded)
        )

    def acquire(self, name: str) -> int | None:
        """The slot of an adapter, which stays until `release`; None while all slots are in use.

        Raises:
            AdapterError: The folder has changed since the start, and is no longer what can be served.
        """
        if name not in self._loaded:
            slot = self._free_slot()
            if slot is None:
                return None
            self._publish()
            self._load(name, slot)
            self._loaded[name] = slot
        self._loaded.move_to_end(name)
        self._publish()
        self._users[name] += 1
        return self._loaded[name]

    def release(self, name: str) -> None:
        """One request less uses it."""
        self._users[name] -= 1

    def _publish(self) -> None:
        self.loaded = tuple(self._loaded)  # replaced as a whole: other threads read it

    def _free_slot(self) -> int | None:
        free = set(range(self.weights.slots)) - set(self._loaded.values())
        if free:
            return min(free)
        oldest = next((name for name in self._loaded if not self._users[name]), None)
        return None if oldest is None else self._loaded.pop(oldest)

    def _load(self, name: str, slot: int) -> None:
        known = self.library[name]
        folder, state = AdapterFolder.read(known.path)
        if folder.manifest.name != name or backbone_of(folder.manifest) != backbone_of(known.manifest):
            raise AdapterError(f"{known.path} holds another adapter than at the start; start the server anew")
        if folder.manifest.sha256 != known.manifest.sha256:  # by which answers name what made them
            raise AdapterError(f"{known.path} holds other weights than at the start; start the server anew")
        self.weights.load(slot, state, folder.lora, known.path)
        self.loads += 1
