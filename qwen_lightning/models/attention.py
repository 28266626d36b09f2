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

from qwen_lightning.models.spans import Spans

#: How a pack is laid out. `flex`: everything in one row, `flex_length` long. `dense`: a group (or a row of documents)
#: a row, for a dense mask is quadratic in the row's length. `plain`: a sequence a row, with a mask of its padding.
Layout = Literal["flex", "dense", "plain"]

NAME = "qwen_lightning"
# Their forward hands a mask of four dimensions to every layer as it is, and takes position ids that start again.
_ARCHITECTURES = ("llama", "qwen2", "qwen3")
# A length compiles for no_grad, for the first layer, whose keys need no gradient, and for the others; lengths are few.
_RECOMPILE_LIMIT = 192


def layout_of(backbone: PreTrainedModel) -> Layout:
    """How packs for this backbone are laid out, where it lies now.

    Llama, Qwen2 and Qwen3 take several sequences a row; models of other architectures, with sliding windows or with
    dropout on attention weights keep one sequence a row.
    """
    config = backbone.config
    if (
        config.model_type not in _ARCHITECTURES
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
    """`tokens` rounded up to one of few lengths, 8 an octave and a multiple of 128: each length compiles anew."""
    step = max(128, 2 ** (tokens.bit_length() - 1) // 8) if tokens > 0 else 128
    return max(1, -(-tokens // step)) * step


def flex_capacity(budget: int) -> int:
    """The longest `flex_length` within a budget of tokens; 128 where none is."""
    step = max(128, 2 ** (budget.bit_length() - 1) // 8)
    return max(128, budget // step * step)


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
    # A function of its own, so that its limit of recompilations counts no others of FlexAttention.
    def attend(query: Tensor, key: Tensor, value: Tensor, block_mask: BlockMask, scale: float, enable_gqa: bool) -> Any:
        return flex_attention(query, key, value, block_mask=block_mask, scale=scale, enable_gqa=enable_gqa)

    # Beyond the limit, a full graph raises: it never falls back to the kernel that holds all scores.
    compiled = torch.compile(attend, fullgraph=True, dynamic=False)

    def within_limit(*args: Any, **kwargs: Any) -> Tensor:
        config: Any = torch._dynamo.config
        with config.patch(recompile_limit=max(config.recompile_limit, _RECOMPILE_LIMIT)):
            return compiled(*args, **kwargs)

    return within_limit


AttentionInterface.register(NAME, spans_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
