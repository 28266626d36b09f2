"""The pipeline's config: its stages, and settings laid over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from qwen_lightning.config_files import read_config
from qwen_lightning.errors import ConfigError

_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
_OWN = ("folder", "stages")


class _Sections(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    folder: str = Field(min_length=1)
    stages: dict[_Name, Annotated[list[str], Field(min_length=1)]] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """What `pipeline -c` is given.

    Args:
        folder: Where state and results lie.
        stages: Stage name to the configs that `fit -c` takes, in the order in which they train.
        overlays: Settings laid over every stage, after its own configs; the later win.
    """

    folder: Path
    stages: dict[str, list[str]]
    overlays: list[dict[str, Any]]

    @classmethod
    def read(cls, paths: Sequence[str]) -> PipelineConfig:
        """Read configs, of which the later win.

        `folder` and `stages` are the pipeline's; a later file changes the stages that it names and adds those that are
        new. All else is laid over every stage, so that `-c configs/trainer/ddp.yaml` means here what it means to `fit`.

        Raises:
            ConfigError: A file cannot be read, or does not say what a pipeline needs.
        """
        folder: Any = None
        stages: Any = {}
        overlays = []
        for path in paths:
            loaded = read_config(path)
            folder = loaded.get("folder", folder)
            given = loaded.get("stages", {})
            if not isinstance(given, dict):
                raise ConfigError(f"{path}: stages: is no mapping; give a name and a list of configs for each stage")
            stages |= given
            if rest := {key: value for key, value in loaded.items() if key not in _OWN}:
                overlays.append(rest)
        try:
            sections = _Sections.model_validate({"folder": folder, "stages": stages})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ConfigError(f"{', '.join(paths)}: {key}: {first['msg']}") from None
        return cls(Path(sections.folder), sections.stages, overlays)
