"""A policy of random weights, built on the device, and a tokenizer for its vocabulary."""

from __future__ import annotations

from functools import cached_property

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import BitsAndBytesConfig, GenerationConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM
from transformers.integrations import replace_with_bnb_linear

from qwen_lightning.models.backbone import DType, Quantization
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.kernels import Kernels, use_kernels
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from tools.bench.shapes import Shape

LORA = LoRASettings(r=16, alpha=32, dropout=0.0)
_CHAT = "{% for message in messages %}{{ message.content }} <|im_end|> {% endfor %}"


@torch.no_grad()
def random_backbone(
    shape: Shape, quantization: Quantization, dtype: DType, device: torch.device, seed: int = 0
) -> Qwen3ForCausalLM:
    """A frozen backbone like the one that `load_backbone` reads from a folder.

    Each weight is drawn on the device and quantised before the next is drawn: beside the 4-bit model, no more than one
    layer's matrix ever lives in `dtype`. Embeddings, norms and head are not quantised, as in training.
    """
    config, compute = shape.config(), getattr(torch, dtype)
    with torch.device("meta"):
        model = Qwen3ForCausalLM(config).to(compute)
        if quantization == "nf4":
            replace_with_bnb_linear(model, ["lm_head"], nf4_config(compute))
            model.is_loaded_in_4bit = True  # peft asks for it
    generator = torch.Generator(device).manual_seed(seed)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            _draw_nf4(module, compute, shape.spread, device, generator)
        elif next(module.parameters(recurse=False), None) is not None:
            module.to_empty(device=device, recurse=False)
            assert isinstance(module.weight, nn.Parameter)
            if module.weight.dim() == 1:
                module.weight.fill_(1.0)
            else:
                module.weight.normal_(0.0, shape.spread, generator=generator)
    with torch.device(device):
        # Its buffers are computed, not drawn.
        model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    model.tie_weights()
    model.config.name_or_path = "random weights"
    model.generation_config = GenerationConfig()
    return model.requires_grad_(False).eval()


def nf4_config(compute: torch.dtype) -> BitsAndBytesConfig:
    """Double-quantised NF4, as training loads it."""
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )


def _draw_nf4(
    layer: Linear4bit, compute: torch.dtype, spread: float, device: torch.device, generator: torch.Generator
) -> None:
    drawn = torch.empty(layer.out_features, layer.in_features, dtype=compute, device=device)
    drawn.normal_(0.0, spread, generator=generator)
    packed = Params4bit(drawn, requires_grad=False, **layer.weight.__dict__)
    layer.weight = packed.to(device)  # type: ignore[misc]  # quantises
    layer.support_avx512bf16_for_cpu = False  # as load_backbone does


def random_policy(
    shape: Shape,
    quantization: Quantization,
    dtype: DType,
    device: torch.device,
    with_reference: bool,
    seed: int = 0,
    kernels: Kernels = "auto",
) -> PolicyModel:
    """The backbone with the kernels that a run would take, LoRA r 16 on q, v and o, and a reference where asked for."""
    backbone = random_backbone(shape, quantization, dtype, device, seed)
    use_kernels(backbone, kernels)
    return PolicyModel(backbone, LORA, with_reference=with_reference).to(device)


class NumberedWords(ChatRenderer):
    """A chat renderer whose token i is the word `w<i>`.

    Random weights give random tokens, so any id of the vocabulary would end a turn now and then. The token that ends
    one therefore lies beyond the model's vocabulary: no completion stops before its limit unless `stops` says so.

    Args:
        vocabulary: The model's.
        stops: How many of its ids end a turn beside that token.
    """

    def __init__(self, vocabulary: int, stops: int = 0) -> None:
        words = {f"w{token}": token for token in range(vocabulary)} | {"<|im_end|>": vocabulary}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        super().__init__(
            PreTrainedTokenizerFast(
                tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="w0", chat_template=_CHAT
            )
        )
        self.vocabulary, self.stops = vocabulary, stops

    @cached_property
    def eos_ids(self) -> list[int]:
        """The token beyond the vocabulary, then `stops` ids below it."""
        return [self.vocabulary, *range(self.vocabulary - self.stops, self.vocabulary)]


def stops_for(share: float, vocabulary: int, tokens: int) -> int:
    """How many ids must end a turn so that `share` of the completions end before `tokens`, if all are equally likely.

    With random weights they nearly are; the number of tokens that came is what a benchmark divides by.
    """
    ending = 1 - (1 - share) ** (1 / tokens)  # of each token
    return min(vocabulary, max(1, round(vocabulary * ending))) if share else 0
