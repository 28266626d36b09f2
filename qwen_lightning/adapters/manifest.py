"""Manifest: what an adapter is, where it comes from and what was measured. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from qwen_lightning.errors import AdapterError
from qwen_lightning.hashing import file_sha256

MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


class Parent(BaseModel):
    """The adapter that training started from."""

    model_config = ConfigDict(extra="forbid")

    name: str
    sha256: str


class Manifest(BaseModel):
    """The contents of `manifest.json`.

    Args:
        name: The adapter's name: `base-sft`, `fc`, `slot`, `sql`, `cypher`, `persona`, or one of a user's own.
        stage: `sft` or `grpo`.
        base_model: Hub id or folder of the backbone.
        base_revision: Revision on the hub, where one was given.
        quantization: How the backbone was quantised in training.
        tasks: Tasks that training saw, general aside.
        inherited_tasks: Tasks that the adapters before it saw: its parent's, and those its parent inherited.
        parent: None where training started from the bare backbone.
        sha256: Hash of the weights file.
        steps: Optimizer steps trained.
        data: File to sha256, for all files that training and regression read.
        settings: The stage's settings: learning rate, KL, seed, adapter shape.
        metrics_before: Regression metrics of the parent.
        metrics_after: Regression metrics of this adapter.
        red_lines: Every action of the brake, in order.
        stop: Why a red line stopped the run, where one did; the adapter is then the last that held all lines.
        run: Folder of the run that wrote it: config, checkpoints, event files.
        versions: Package to version.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    stage: str
    base_model: str
    base_revision: str | None = None
    quantization: str
    tasks: list[str] = []
    inherited_tasks: list[str] = []
    parent: Parent | None = None
    sha256: str = ""
    steps: int = 0
    data: dict[str, str] = {}
    settings: dict[str, Any] = {}
    metrics_before: dict[str, float] = {}
    metrics_after: dict[str, float] = {}
    red_lines: list[dict[str, Any]] = []
    stop: str | None = None
    run: str | None = None
    versions: dict[str, str] = {}

    @property
    def is_persona(self) -> bool:
        """Whether the persona is in it: it was trained on persona records, or an adapter before it was."""
        return "persona" in (self.name, *self.tasks, *self.inherited_tasks)

    @classmethod
    def read(cls, folder: str | Path) -> Manifest:
        """Read and check an adapter folder.

        Raises:
            AdapterError: A file is missing or malformed, or the weights are not those that the manifest names.
        """
        folder = Path(folder)
        for name in (MANIFEST_FILE, CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise AdapterError(f"{folder}: no {name}; this is no adapter folder of this trainer")
        try:
            manifest = cls.model_validate_json((folder / MANIFEST_FILE).read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "file"
            raise AdapterError(f"{folder / MANIFEST_FILE}: {field}: {first['msg']}") from None
        found = file_sha256(folder / WEIGHTS_FILE)
        if found != manifest.sha256:
            raise AdapterError(
                f"{folder / WEIGHTS_FILE}: sha256 is {found[:12]}…, not the manifest's {manifest.sha256[:12]}…; "
                "copy the folder anew"
            )
        return manifest

    def write(self, folder: str | Path) -> None:
        """Write `manifest.json`, with the hash of the weights that lie beside it."""
        folder = Path(folder)
        self.sha256 = file_sha256(folder / WEIGHTS_FILE)
        (folder / MANIFEST_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
