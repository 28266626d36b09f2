"""Whether a vLLM server has what is to be served: the backbone, and every adapter of the folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qwen_lightning.adapters.manifest import WEIGHTS_FILE, Manifest
from qwen_lightning.adapters.vllm_flags import rank_of, vllm_command
from qwen_lightning.errors import ConfigError
from qwen_lightning.hashing import file_sha256
from qwen_lightning.rollout.vllm.cards import ModelCard
from qwen_lightning.serving.library import Library, ServedAdapter


@dataclass(frozen=True, slots=True)
class RankedAdapter(ServedAdapter):
    """An adapter that vLLM has.

    Args:
        path: Its folder.
        manifest: Its description.
        rank: Its rank.
    """

    rank: int


class ManifestLibrary(Library[RankedAdapter]):
    """Adapters by their manifests; the weights are vLLM's, and only compared with the manifest's hash here."""

    def _read(self, path: Path) -> RankedAdapter:
        return RankedAdapter(path, Manifest.read(path), rank_of(path))

    def command(self) -> str:
        """The command line with which vLLM serves them all."""
        assert self.manifest is not None  # a library that was opened has an adapter
        folders = {name: folder.path for name, folder in self.items()}
        return vllm_command(self.manifest, folders, max(folder.rank for folder in self.values()))


@dataclass(frozen=True, slots=True)
class Served:
    """What a vLLM server has.

    Args:
        base: The backbone's name there.
        max_length: Tokens that a prompt and its completion may have there; None: it does not say.
    """

    base: str
    max_length: int | None


def survey(cards: Sequence[ModelCard], library: ManifestLibrary, model: str, served_model: str | None) -> Served:
    """Find the backbone and all adapters among what a server has.

    Args:
        cards: What it has.
        library: What is to be served.
        model: The backbone, a hub id or a folder.
        served_model: The backbone's name there, where it has another.

    Raises:
        ConfigError: It has another backbone, or lacks an adapter.
    """
    bases = [card for card in cards if card.parent is None and card.id not in library]
    if served_model is None:
        found = next((card for card in bases if card.is_base(model)), None)
    else:
        found = next((card for card in bases if card.id == served_model), None)
    if found is None:
        has = ", ".join(card.id if card.root in (None, card.id) else f"{card.id} ({card.root})" for card in bases)
        raise ConfigError(
            f"the vLLM server has the base model {has or 'none'}, not {served_model or model}; serve that one, or "
            "where it only has another name there, give that name in --served-model"
        )
    there = {card.id for card in cards if card is not found}
    missing = [name for name in library if name not in there]
    if missing:
        raise ConfigError(f"the vLLM server does not serve {', '.join(missing)}; start it with: {library.command()}")
    return Served(found.id, found.max_model_len)


def require_same_weights(cards: Sequence[ModelCard], library: ManifestLibrary) -> None:
    """Refuse a server whose adapter lies in another folder here, with other weights.

    Raises:
        ConfigError: One has other weights; where its folder cannot be seen from here, nothing is known of them.
    """
    for card in cards:
        if card.id not in library or card.root is None:
            continue
        weights = Path(card.root) / WEIGHTS_FILE
        folder = library[card.id]
        if weights.is_file() and file_sha256(weights) != folder.manifest.sha256:
            raise ConfigError(
                f"the vLLM server's adapter {card.id} is that of {card.root}, whose weights are others than those of "
                f"{folder.path}; start it with: {library.command()}"
            )
