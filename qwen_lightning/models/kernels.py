"""Liger's kernels for norms, rotary embedding and SwiGLU, where they are installed and the backbone is on CUDA."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor
from transformers import PreTrainedModel

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.backbone import ARCHITECTURES

Kernels = Literal["auto", "liger", "none"]


def use_kernels(backbone: PreTrainedModel, kernels: Kernels = "auto") -> bool:
    """Replace layers of a backbone by liger-kernel's (Hsu and others, arXiv:2410.10989), in place.

    They compute the same, in fewer passes over memory, forward and backward. On a CPU nothing is replaced.

    Args:
        backbone: As loaded, before adapters are added.
        kernels: `auto` for liger's where liger-kernel is installed and knows the architecture; `liger` to insist;
            `none` for transformers' own.

    Returns:
        Whether liger's kernels are in use.

    Raises:
        ConfigError: `liger` is asked for on CUDA, and is not installed or does not know the architecture.
    """
    if kernels == "none" or backbone.get_input_embeddings().weight.device.type != "cuda":
        return False
    kind = backbone.config.model_type
    if importlib.util.find_spec("liger_kernel") is None:
        missing = "liger-kernel is not installed; pip install 'qwen_lightning[gpu]'"
    elif kind not in ARCHITECTURES:
        missing = f"liger's layers are used for {', '.join(ARCHITECTURES)}, and this is {kind}"
    else:
        replace_layers(backbone)
        return True
    if kernels == "liger":
        raise ConfigError(f"kernels liger: {missing}, or set kernels: auto")
    return False


def replace_layers(backbone: PreTrainedModel) -> None:
    """Replace the layers of this backbone alone; rotary embedding, a function of the architecture, for CUDA tensors."""
    kind = backbone.config.model_type
    modeling = importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")
    before = dict(vars(modeling))
    apply = getattr(importlib.import_module("liger_kernel.transformers"), f"apply_liger_kernel_to_{kind}")
    silu = backbone.config.hidden_act in ("silu", "swish")
    apply(rope=True, cross_entropy=False, fused_linear_cross_entropy=False, rms_norm=True, swiglu=silu, model=backbone)
    rotary = modeling.apply_rotary_pos_emb
    # It also replaces the architecture's classes: a backbone that is built later on a CPU could not run.
    for name, value in before.items():
        if getattr(modeling, name) is not value:
            setattr(modeling, name, value)
    original = before["apply_rotary_pos_emb"]
    if not hasattr(original, "on_cpu"):
        setattr(modeling, "apply_rotary_pos_emb", _by_device(rotary, original))  # noqa: B010  of any module


def _by_device(on_cuda: Callable[..., Any], on_cpu: Callable[..., Any]) -> Callable[..., Any]:
    def apply_rotary_pos_emb(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (on_cuda if q.is_cuda else on_cpu)(q, k, cos, sin, *args, **kwargs)

    apply_rotary_pos_emb.on_cpu = on_cpu  # type: ignore[attr-defined]
    return apply_rotary_pos_emb
