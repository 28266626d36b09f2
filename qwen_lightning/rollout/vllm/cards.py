"""What a vLLM server says of the models that it has. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel


class ModelCard(BaseModel):
    """One model that a server has; of an adapter, `parent` names the base."""

    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None

    def is_base(self, name_or_path: str) -> bool:
        """Whether it is the base model of that hub id or folder."""
        names = [name for name in (self.id, self.root) if name]
        return name_or_path in names or (
            Path(name_or_path).is_dir() and Path(name_or_path).resolve() in [Path(name).resolve() for name in names]
        )


class ModelCards(BaseModel):
    """The answer to GET /v1/models."""

    data: list[ModelCard]
