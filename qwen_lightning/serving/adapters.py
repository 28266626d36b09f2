"""The adapters that a server has: checked folders, and which of them lie on the backbone now."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.adapters.store import load_adapter
from qwen_lightning.errors import AdapterError
from qwen_lightning.models.policy import LoRASettings
from qwen_lightning.serving.weights import ServedWeights, ranks_of


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """An adapter that can be served.

    Args:
        path: Its folder.
        manifest: Its description.
        lora: Its shape.
        ranks: Rank of each module that it changes, by the module's name.
    """

    path: Path
    manifest: Manifest
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


class AdapterLibrary(Mapping[str, AdapterFolder]):
    """Adapters of one backbone by name, all of them read and checked.

    Args:
        folders: The adapters' folders.

    Raises:
        AdapterError: A folder is no adapter or corrupt, two have one name, or they are of different backbones.
    """

    def __init__(self, folders: list[Path]) -> None:
        self._folders: dict[str, AdapterFolder] = {}
        for path in folders:
            folder, _ = AdapterFolder.read(path)
            name = folder.manifest.name
            if name in self._folders:
                raise AdapterError(f"{path} and {self._folders[name].path} both hold an adapter {name!r}; rename one")
            self._folders[name] = folder
            first = next(iter(self._folders.values()))
            for key, value in _backbone(folder.manifest).items():
                expected = _backbone(first.manifest)[key]
                if value != expected:
                    raise AdapterError(
                        f"{path}: {key} is {value!r}, but {expected!r} in {first.path}; "
                        "a server has one backbone: serve them apart"
                    )

    @classmethod
    def open(cls, root: str | Path) -> AdapterLibrary:
        """The adapters in a folder of adapter folders; what begins with a dot is left aside.

        Raises:
            AdapterError: There is none, or one cannot be served.
        """
        root = Path(root)
        if not root.is_dir():
            raise AdapterError(f"{root}: no such folder of adapters")
        found = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not found:
            raise AdapterError(f"{root} holds no adapter folder")
        return cls(found)

    @property
    def manifest(self) -> Manifest | None:
        """Any adapter's manifest: all name the same base_model, base_revision and quantization. None: no adapters."""
        return next((folder.manifest for folder in self._folders.values()), None)

    def __getitem__(self, name: str) -> AdapterFolder:
        return self._folders[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)


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
        if folder.manifest.name != name or _backbone(folder.manifest) != _backbone(known.manifest):
            raise AdapterError(f"{known.path} holds another adapter than at the start; start the server anew")
        self.weights.load(slot, state, folder.lora, known.path)
        self.loads += 1


def _backbone(manifest: Manifest) -> dict[str, str | None]:
    return {
        "base_model": manifest.base_model,
        "base_revision": manifest.base_revision,
        "quantization": manifest.quantization,
    }
