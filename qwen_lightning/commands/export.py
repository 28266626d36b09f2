"""`export`: an adapter folder for peft and vLLM, or the backbone with the adapter merged in."""

from __future__ import annotations

import argparse
import shlex
import shutil
from pathlib import Path

from qwen_lightning.adapters.manifest import CONFIG_FILE, MANIFEST_FILE, WEIGHTS_FILE, Manifest
from qwen_lightning.adapters.vllm_flags import rank_of, vllm_command
from qwen_lightning.errors import AdapterError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--adapter", required=True, metavar="DIR", help="adapter folder")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write; must not exist")
    parser.add_argument("--merge", action="store_true", help="write whole merged weights in place of an adapter")
    parser.add_argument("--model", metavar="M", help="backbone to merge into; the manifest's unless given")


def run(args: argparse.Namespace) -> int:
    """Export, and print the command with which vLLM serves what was written.

    Raises:
        AdapterError: The adapter is unusable, or the output is there already.
    """
    manifest = Manifest.read(args.adapter)
    output = Path(args.output)
    if output.exists():
        raise AdapterError(f"{output} is there already; give a folder that is not")
    command = shlex.join(["vllm", "serve", str(output.resolve())])
    if args.merge:
        _merge(Path(args.adapter), manifest, args.model or manifest.base_model, output)
    else:
        command = vllm_command(manifest, {manifest.name: output}, rank_of(Path(args.adapter)))
        output.mkdir(parents=True)
        for name in (CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE):
            shutil.copyfile(Path(args.adapter) / name, output / name)
    print(f"{manifest.name}: {output}")
    print(f"vLLM serves it with: {command}")
    return 0


def _merge(adapter: Path, manifest: Manifest, model: str, output: Path) -> None:
    """Merge into the backbone's own weights, never into 4-bit ones: those would round the adapter away."""
    import torch
    from transformers import AutoConfig

    from qwen_lightning.adapters.store import load_adapter
    from qwen_lightning.models.backbone import DType, load_backbone
    from qwen_lightning.models.chat import ChatRenderer
    from qwen_lightning.models.policy import PolicyModel

    state, lora, _ = load_adapter(adapter)
    tokenizer = ChatRenderer.from_pretrained(model).tokenizer
    revision = manifest.base_revision if model == manifest.base_model else None
    own = AutoConfig.from_pretrained(model, revision=revision).dtype
    dtype: DType = "float32" if own == torch.float32 else "bfloat16"
    backbone = load_backbone(model, "none", dtype, revision=revision)
    merged = PolicyModel(backbone, lora, state).peft.merge_and_unload()
    merged.save_pretrained(output)
    tokenizer.save_pretrained(output)
    shutil.copyfile(adapter / MANIFEST_FILE, output / MANIFEST_FILE)
