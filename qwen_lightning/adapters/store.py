"""Adapter folders: peft's files, and the manifest beside them."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from peft import PeftConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from qwen_lightning.adapters.manifest import CONFIG_FILE, MANIFEST_FILE, WEIGHTS_FILE, Manifest
from qwen_lightning.errors import AdapterError
from qwen_lightning.models.policy import LoRASettings

# Settings of a LoRA file that change nothing of what the adapter computes, or that `LoRASettings` holds.
_FREE = {
    *("base_model_name_or_path", "revision", "inference_mode", "task_type", "peft_version", "auto_mapping"),
    *("init_lora_weights", "target_modules", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
    *("runtime_config", "ensure_weight_tying"),
}
_PACKAGES = ("qwen_lightning", "torch", "lightning", "transformers", "peft", "bitsandbytes", "sqlglot", "duckdb")


def save_adapter(folder: str | Path, state: dict[str, Tensor], lora: LoRASettings, manifest: Manifest) -> Manifest:
    """Write an adapter folder that peft and vLLM load; a folder that is there is replaced once the new one is whole.

    Args:
        folder: Where to.
        state: Weights by peft's names.
        lora: The adapter's shape.
        manifest: Its description; hash and versions are filled in.

    Returns:
        The manifest as written.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()},
        partial / WEIGHTS_FILE,
        {"format": "pt"},
    )
    config = lora.to_peft()
    config.base_model_name_or_path, config.inference_mode = manifest.base_model, True
    config.save_pretrained(str(partial))
    manifest = manifest.model_copy(update={"versions": {name: version(name) for name in _PACKAGES}})
    manifest.write(partial)
    require_replaceable(folder)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    return manifest


def require_replaceable(folder: str | Path) -> None:
    """Refuse to write an adapter over something else.

    Raises:
        AdapterError: The folder holds files, and no adapter.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST_FILE).exists():
        raise AdapterError(f"{folder} holds something else than an adapter; give another folder")


def load_adapter(folder: str | Path) -> tuple[dict[str, Tensor], LoRASettings, Manifest]:
    """Read an adapter folder.

    Raises:
        AdapterError: It is missing, incomplete, corrupt, or no LoRA adapter as this trainer builds them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AdapterError(f"{folder}: no such adapter folder")
    manifest = Manifest.read(folder)
    try:
        config = PeftConfig.from_pretrained(str(folder))
        state = load_file(folder / WEIGHTS_FILE)
    except Exception as error:  # whatever the file formats' readers raise, the folder cannot be used
        raise AdapterError(
            f"{folder}: {CONFIG_FILE} or {WEIGHTS_FILE} cannot be read ({error}); copy it anew"
        ) from error
    if not hasattr(config, "lora_alpha"):
        raise AdapterError(f"{folder / CONFIG_FILE}: peft_type is {config.peft_type}, not LORA")
    targets = config.target_modules
    shape = LoRASettings(
        r=config.r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        target_modules=[targets] if isinstance(targets, str) else sorted(targets),
    )
    ours, theirs = shape.to_peft().to_dict(), config.to_dict()
    for key in sorted(ours.keys() - _FREE):
        # DoRA, rank-stabilised scaling and the like: loaded as plain LoRA, the weights would mean something else.
        if theirs[key] != ours[key]:
            raise AdapterError(
                f"{folder / CONFIG_FILE}: {key} is {theirs[key]!r}; adapters are plain LoRA, with {ours[key]!r}"
            )
    return state, shape, manifest
