"""The decoder's forward pass over rows of tokens, whatever attends: a prefill or a decode step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from qwen_lightning.compilation import compiled
from qwen_lightning.models.backbone import ARCHITECTURES, decoder_of, head_of
from qwen_lightning.rollout.grouped.weights import LayerWeights

#: Layer, queries (rows, heads, head size), keys and values (rows, key heads, head size) to (rows, heads, head size).
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]

_ROPES = ("default", "linear", "llama3", "yarn")  # whose angles depend on the position alone


def why_not(model: PreTrainedModel) -> str | None:
    """Why `Decoder` cannot compute what this model does where it lies now; None where it can."""
    config = model.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if config.model_type not in ARCHITECTURES:
        return f"the architecture is {config.model_type}, and {', '.join(ARCHITECTURES)} are decoded here"
    if config.hidden_act != "silu" or rope not in _ROPES:
        return f"the model has activation {config.hidden_act} and rotary embedding {rope}"
    if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return "the model has layers with sliding windows"
    if model.device.type != "cuda":
        return None
    size = _head_size(config)
    if size < 16 or size & (size - 1):
        return f"the kernels take head sizes 16, 32, 64, 128 …, not {size}"
    if find_spec("triton") is None:
        return "Triton is not installed"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler, and there is none; install gcc"
    return None


class Decoder:
    """Qwen3 and its relations, computed on linear layers that are given.

    Args:
        backbone: The model.
        weights: Its decoder layers.
    """

    def __init__(self, backbone: PreTrainedModel, weights: Sequence[LayerWeights]) -> None:
        model: Any = decoder_of(backbone)
        config = model.config
        self.weights, self.head = weights, head_of(backbone)
        self.embed, self.rotary, self.norm = model.embed_tokens, model.rotary_emb, model.norm.weight
        self.epsilon = config.rms_norm_eps
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = _head_size(config)
        self.scale = model.layers[0].self_attn.scaling
        self.layers, self.hidden, self.intermediate = len(model.layers), config.hidden_size, config.intermediate_size
        self.device, self.dtype = self.embed.weight.device, backbone.dtype
        # On a GPU each becomes a kernel or two, as all else in a layer is; dynamic shapes, so they compile once.
        functions = _fused() if self.device.type == "cuda" else _Functions(_rotated, _gated, _added)
        self._rotated, self._gated, self._added = functions

    def __call__(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Last hidden states.

        Args:
            ids: (rows,).
            positions: (rows,).
            attend: Keeps the rows' keys and values and looks at what they may see.

        Returns:
            (rows, hidden), after the final norm.
        """
        x = self.embed(ids)
        cos, sin = self.rotary(x[None], positions[None])
        cos, sin = cos[0, :, None], sin[0, :, None]
        layers = self.weights
        normed = functional.rms_norm(x, self.norm.shape, layers[0].input_norm, self.epsilon)
        for index, layer in enumerate(layers):
            qkv = layer.qkv(normed).view(len(x), -1, self.size)
            q, k, v = qkv.split([self.heads, self.key_heads, self.key_heads], 1)
            q = self._rotated(q, cos, sin, layer.q_norm, self.epsilon)
            k = self._rotated(k, cos, sin, layer.k_norm, self.epsilon)
            seen = attend(index, q, k, v).reshape(len(x), -1)
            x, normed = self._added(x, layer.out(seen), layer.post_norm, self.epsilon)
            # Each layer ends with the norm that the next begins with.
            following = layers[index + 1].input_norm if index + 1 < len(layers) else self.norm
            x, normed = self._added(x, layer.down(self._gated(layer.gate_up(normed))), following, self.epsilon)
        return normed


def _head_size(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def causal_attention(query: Tensor, key: Tensor, value: Tensor, prompts: int, scale: float) -> Tensor:
    """Attention of prompts that are padded on the right: under a causal mask no token sees the padding.

    Args:
        query: (prompts × length, heads, head size).
        key: (prompts × length, key heads, head size).
        value: As `key`.
        prompts: How many.
        scale: Multiplies the scores.

    Returns:
        As `query`.
    """
    q, k, v = (x.view(prompts, -1, *x.shape[1:]).transpose(1, 2) for x in (query, key, value))
    if q.is_cuda and q.dtype == torch.float32:  # no fused kernel takes grouped heads in fp32
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
    return seen.transpose(1, 2).reshape(query.shape)


class _Functions(NamedTuple):
    """What a layer computes beside products and attention."""

    rotated: Callable[..., Tensor]
    gated: Callable[..., Tensor]
    added: Callable[..., tuple[Tensor, Tensor]]


@cache
def _fused() -> _Functions:
    # The limits allow for rows and one row, with norm and without, and several dtypes.
    fuse: Any = partial(compiled, limit=32, dynamic=True)
    return _Functions(fuse(_rotated), fuse(_gated), fuse(_added))


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, norm: Tensor | None, epsilon: float) -> Tensor:
    """Rotary position embedding (Su and others, RoFormer, 2021) of (rows, heads, head size), after its norm if any."""
    if norm is not None:
        x = functional.rms_norm(x, norm.shape, norm, epsilon)
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def _gated(x: Tensor) -> Tensor:
    """SwiGLU of gate and up side by side (Shazeer, 2020)."""
    gate, up = x.chunk(2, -1)
    return functional.silu(gate) * up


def _added(x: Tensor, change: Tensor, norm: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The residual stream after a change, and its norm."""
    x = x + change
    return x, functional.rms_norm(x, norm.shape, norm, epsilon)
