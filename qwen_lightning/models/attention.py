"""Attention over packs: FlexAttention on CUDA, SDPA elsewhere, chosen by the mask of each call."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from qwen_lightning.compilation import compiled
from qwen_lightning.models.backbone import ARCHITECTURES
from qwen_lightning.models.spans import Spans

#: How a pack is laid out. `flex`: everything in one row, `flex_length` long. `dense`: rows as long as the longest group
#: (short ones share one), for a dense mask is quadratic in the row's length. `plain`: a sequence a row, with a mask of
#: its padding.
Layout = Literal["flex", "dense", "plain"]

NAME = "qwen_lightning"
# Longest pack that the number of compilations is reckoned for, in tokens.
_LONGEST = 2**17
# Lengths of packs: few below the floor, for on a GPU a pass of a few thousand tokens waits for launches.
_TILE, _FLOOR, _AN_OCTAVE = 128, 1024, 8


def layout_of(backbone: PreTrainedModel) -> Layout:
    """How packs for this backbone are laid out, where it lies now.

    Llama, Qwen2 and Qwen3 take several sequences a row; models of other architectures, with sliding windows or with
    dropout on attention weights keep one sequence a row.
    """
    config = backbone.config
    if (
        config.model_type not in ARCHITECTURES
        or config._attn_implementation not in ("sdpa", NAME)
        or "sliding_attention" in (getattr(config, "layer_types", None) or ())
        or getattr(config, "attention_dropout", 0.0) > 0
    ):
        return "plain"
    device = cast(Tensor, backbone.get_input_embeddings().weight).device
    # FlexAttention's kernels need tensor cores with bf16.
    flexible = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "flex" if flexible else "dense"


def use_spans(backbone: PreTrainedModel) -> None:
    """Let a backbone whose layout is not `plain` take block masks too; with any other mask it computes as before.

    This is for good, not for a call: where layers are recomputed in backward, the call is long over.
    """
    if layout_of(backbone) != "plain":
        backbone.set_attn_implementation(NAME)


def mask_of(spans: Spans, layout: Layout) -> Tensor | BlockMask:
    """The mask of a pack as the layers take it.

    Raises:
        ValueError: The layout is `plain`.
    """
    if layout == "plain":
        raise ValueError("this backbone takes one sequence a row, with a mask of its padding")
    return spans.block_mask() if layout == "flex" else spans.dense()


def flex_length(tokens: int) -> int:
    """`tokens` rounded up to one of few lengths, for each compiles anew.

    They are 128, 256 and 512, then multiples of 1,024, from 16,384 on 8 an octave. On a GPU a short pass waits for
    launches, whatever it holds, so that the padding of small packs costs memory alone.
    """
    if tokens <= _FLOOR:
        return max(_TILE, 2 ** (tokens - 1).bit_length()) if tokens > 0 else _TILE
    step = _step(tokens)
    return -(-tokens // step) * step


def flex_capacity(budget: int) -> int:
    """The longest `flex_length` within a budget of tokens; 128 where none is."""
    if budget < _FLOOR:
        return max(_TILE, 2 ** (budget.bit_length() - 1))
    return budget // _step(budget) * _step(budget)


def _step(tokens: int) -> int:
    return max(_FLOOR, 2 ** (tokens.bit_length() - 1) // _AN_OCTAVE)


def spans_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function of transformers' interface: FlexAttention for a block mask, SDPA for any other.

    Args:
        module: The attention layer.
        query: (rows, heads, length, head size).
        key: (rows, key heads, length, head size).
        value: As `key`.
        attention_mask: (rows, 1, length, length), dense or as blocks; or None.
        scaling: Multiplies the scores.
        **kwargs: What other attention functions take.

    Returns:
        (rows, length, heads, head size).
    """
    if not isinstance(attention_mask, BlockMask):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    device = query.device.type
    # As SDPA under autocast; without it, adapters and norms in fp32 may leave query and value of unlike types.
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else value.dtype
    eager = device == "cpu" or torch.compiler.is_compiling()
    attend = cast(Callable[..., Any], flex_attention) if eager else _compiled()
    with torch.autocast(device, enabled=False):
        found = attend(
            query.to(dtype),
            key.to(dtype),
            value.to(dtype),
            block_mask=attention_mask,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
    return found.transpose(1, 2).contiguous(), None


@cache
def _compiled() -> Callable[..., Tensor]:
    def attend(query: Tensor, key: Tensor, value: Tensor, block_mask: BlockMask, scale: float, enable_gqa: bool) -> Any:
        return flex_attention(query, key, value, block_mask=block_mask, scale=scale, enable_gqa=enable_gqa)

    # A length compiles for no_grad, for inference mode, for the first layer, whose keys need no gradient, and for the
    # others; one, also for the pass that is measured, twice.
    lengths = {flex_length(tokens) for tokens in range(_TILE, _LONGEST + 1, _TILE)}
    return compiled(attend, limit=4 * len(lengths) + 2, dynamic=False)


AttentionInterface.register(NAME, spans_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
