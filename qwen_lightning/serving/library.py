"""The adapters that a server has, by name: folders of one backbone. Imports no torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Self, TypeVar

from qwen_lightning.adapters.manifest import Manifest
from qwen_lightning.errors import AdapterError


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """An adapter that can be served.

    Args:
        path: Its folder.
        manifest: Its description.
    """

    path: Path
    manifest: Manifest


A = TypeVar("A", bound=ServedAdapter)


class Library(Mapping[str, A], Generic[A]):
    """Adapters of one backbone by name, all of them read and checked.

    Args:
        folders: The adapters' folders.

    Raises:
        AdapterError: A folder is no adapter or corrupt, two have one name, or they are of different backbones.
    """

    def __init__(self, folders: list[Path]) -> None:
        self._folders: dict[str, A] = {}
        for path in folders:
            folder = self._read(path)
            name = folder.manifest.name
            if name in self._folders:
                raise AdapterError(f"{path} and {self._folders[name].path} both hold an adapter {name!r}; rename one")
            self._folders[name] = folder
            first = next(iter(self._folders.values()))
            for key, value in backbone_of(folder.manifest).items():
                expected = backbone_of(first.manifest)[key]
                if value != expected:
                    raise AdapterError(
                        f"{path}: {key} is {value!r}, but {expected!r} in {first.path}; "
                        "a server has one backbone: serve them apart"
                    )

    @classmethod
    def open(cls, root: str | Path) -> Self:
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

    def __getitem__(self, name: str) -> A:
        return self._folders[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)

    @abstractmethod
    def _read(self, path: Path) -> A:
        """Read and check one folder."""


def backbone_of(manifest: Manifest) -> dict[str, str | None]:
    """What the manifests of one server's adapters have in common."""
    return {
        "base_model": manifest.base_model,
        "base_revision": manifest.base_revision,
        "quantization": manifest.quantization,
    }
