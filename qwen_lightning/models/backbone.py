"""The 4-bit backbone: frozen weights that every adapter shares."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig, PreTrainedModel

from qwen_lightning.errors import ConfigError

Quantization = Literal["nf4", "none"]
DType = Literal["bfloat16", "float32"]
#: Model types whose layers can be taken apart: they take ready masks of four dimensions and position ids that start
#: again, and liger-kernel replaces them.
ARCHITECTURES = ("llama", "qwen2", "qwen3")


def load_backbone(
    name_or_path: str,
    quantization: Quantization = "nf4",
    dtype: DType = "bfloat16",
    device: torch.device | str = "cpu",
    revision: str | None = None,
) -> PreTrainedModel:
    """Load a causal language model, frozen, in evaluation mode.

    Args:
        name_or_path: Hub id or folder.
        quantization: `nf4` for NF4 with double quantisation (Dettmers and others, QLoRA, 2023), or `none`.
        dtype: Type of the computation and of embeddings, norms and head.
        device: Where the weights go.
        revision: Revision on the hub.

    Raises:
        ConfigError: There is no such model.
    """
    compute = getattr(torch, dtype)
    config = None
    if quantization == "nf4":
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name_or_path,
            revision=revision,
            dtype=compute,
            quantization_config=config,
            device_map={"": torch.device(device)},
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no model at {name_or_path!r}; give a folder or a hub id ({str(error).splitlines()[0]})"
        ) from error
    for module in model.modules():
        # On CPUs with avx512-bf16 the first forward would repack the weights for good, and break exact resume.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010  not in the declared attributes
    # The checkpoint's own top-k, top-p and temperature would bias the policy's samples.
    model.generation_config = GenerationConfig(
        eos_token_id=model.generation_config.eos_token_id, pad_token_id=model.generation_config.pad_token_id
    )
    return model.requires_grad_(False).eval()


def decoder_of(model: PreTrainedModel) -> nn.Module:
    """The model without its head: ids in, last hidden states out."""
    return model.base_model


def head_of(model: PreTrainedModel) -> nn.Module:
    """The output head: hidden states in, logits out."""
    return model.get_output_embeddings()
