"""YAML configs as they are read by every command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from qwen_lightning.errors import ConfigError


def read_config(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML config.

    Raises:
        ConfigError: It cannot be read, is no YAML, or holds something else than a mapping.
    """
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    if loaded is None:
        raise ConfigError(f"{path}: holds no setting; fill it or leave it out")
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: a config is a mapping, not {type(loaded).__name__}")
    return loaded
