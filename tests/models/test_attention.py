"""Several sequences in one row are computed as if each had a row of its own, and `generate` as before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from qwen_lightning.models.attention import (
    flex_capacity,
    flex_length,
    layout_of,
    mask_of,
    spans_attention,
    use_spans,
)
from qwen_lightning.models.backbone import decoder_of
from qwen_lightning.models.checkpointing import recompute_layers
from qwen_lightning.models.spans import Spans

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
CONFIGS = {
    "llama": LlamaConfig(**SMALL),
    "qwen2": Qwen2Config(**SMALL),
    "qwen3": Qwen3Config(**SMALL, head_dim=16),
}
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")),
]


def backbone_of(config: PreTrainedConfig, device: str = "cpu") -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(device).requires_grad_(False)


def row(width: int = 40) -> tuple[Tensor, Tensor, Spans, list[Tensor]]:
    """Ids, positions and spans of one row: a prompt of 9 with completions of 5 and 7, then a document of 12, then
    padding; and where each of the three sequences lies in it."""
    prompt, first, second, document = (torch.arange(*ends) for ends in ((0, 9), (9, 14), (14, 21), (21, 33)))
    ids = torch.randint(2, 97, (1, width), generator=torch.Generator().manual_seed(2))
    positions, start = torch.zeros(width, dtype=torch.long), torch.arange(width)
    end = torch.zeros(width, dtype=torch.long)
    for part, offset in ((prompt, 0), (first, 9), (second, 9), (document, 0)):
        positions[part] = torch.arange(len(part)) + offset
        start[part] = part[0]
    end[first], end[second] = 9, 9
    spans = Spans(torch.zeros(1, width, dtype=torch.long), end[None], start[None])
    return ids, positions[None], spans, [torch.cat([prompt, first]), torch.cat([prompt, second]), document]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_row_of_several_is_each_alone(kind: str, checkpointing: bool, device: str) -> None:
    model = backbone_of(CONFIGS[kind], device)
    if checkpointing:
        recompute_layers(model, 2)
    model.train()
    width = flex_length(40) if device == "cuda" else 40
    ids, positions, spans, sequences = row(width)
    use_spans(model)
    assert layout_of(model) == ("flex" if device == "cuda" else "dense")
    weights = torch.randn(width, 32, generator=torch.Generator().manual_seed(3)).to(device)
    embeddings = model.get_input_embeddings()(ids.to(device)).detach()

    def run(inputs: Tensor, mask: Any, position_ids: Tensor) -> Tensor:
        found = decoder_of(model)(
            inputs_embeds=inputs, attention_mask=mask, position_ids=position_ids.to(device), use_cache=False
        )
        return found.last_hidden_state

    packed = embeddings.clone().requires_grad_()
    together = run(packed, mask_of(spans.to(device), layout_of(model)), positions)
    (together[0] * weights)[torch.cat(sequences).unique()].sum().backward()
    alone = embeddings.clone().requires_grad_()
    for number, places in enumerate(sequences):
        found = run(alone[:, places], None, torch.arange(len(places))[None])[0]
        torch.testing.assert_close(together[0, places], found, rtol=0, atol=1e-5)
        counted = weights[places].clone()
        if number == 1:  # the prompt's states were counted with the first completion
            counted[:9] = 0
        (found * counted).sum().backward()
    assert packed.grad is not None
    assert alone.grad is not None
    torch.testing.assert_close(packed.grad, alone.grad, rtol=0, atol=1e-5 * float(alone.grad.abs().max()))


@pytest.mark.parametrize("kind", CONFIGS)
def test_generation_and_rows_of_one_are_as_before(kind: str) -> None:
    model = backbone_of(CONFIGS[kind]).eval()
    ids = torch.randint(2, 97, (3, 6), generator=torch.Generator().manual_seed(4))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0

    def run() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask).logits
        return model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=8, do_sample=False), logits

    before = run()
    use_spans(model)
    for one, other in zip(before, run(), strict=True):
        assert torch.equal(one, other)


def test_other_architectures_keep_a_row_each() -> None:
    model = backbone_of(GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=2))
    use_spans(model)
    assert layout_of(model) == "plain"
    assert model.config._attn_implementation == "sdpa"
    _, _, spans, _ = row()
    with pytest.raises(ValueError, match="one sequence a row"):
        mask_of(spans, "plain")
    windows = Qwen3Config(**SMALL, use_sliding_window=True, sliding_window=8, max_window_layers=0)
    assert layout_of(backbone_of(windows)) == "plain"
    assert layout_of(backbone_of(Qwen3Config(**SMALL, attention_dropout=0.1))) == "plain"


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_block_masks_go_to_flex_attention() -> None:
    _, _, spans, _ = row()
    module = torch.nn.Module()
    module.num_key_value_groups = 2  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(5)
    query = torch.randn(1, 4, 40, 16, generator=generator)
    key, value = (torch.randn(1, 2, 40, 16, generator=generator).bfloat16() for _ in range(2))
    with torch.no_grad():
        blocks, dense = (
            spans_attention(module, query.to(kind), key.to(kind), value.to(kind), mask, scaling=0.3, dropout=0.0)[0]
            for mask, kind in ((mask_of(spans, "flex"), torch.float32), (mask_of(spans, "dense"), torch.float32))
        )
        torch.testing.assert_close(blocks, dense, rtol=0, atol=1e-6)
        # A query in fp32 beside keys in bf16, as norms and adapters in fp32 leave it.
        mixed = spans_attention(module, query, key, value, mask_of(spans, "flex"), scaling=0.3)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = spans_attention(module, query, key.float(), value.float(), mask_of(spans, "flex"), scaling=0.3)[0]
    assert mixed.dtype == cast.dtype == torch.bfloat16
    assert blocks.shape == (1, 40, 4, 16)
    torch.testing.assert_close(mixed.float(), dense, rtol=0, atol=0.05)
    torch.testing.assert_close(cast, mixed)


def test_a_new_mask_of_the_same_length_compiles_nothing() -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("eager")
    attend = torch.compile(
        lambda query, mask: flex_attention(query, query, query, block_mask=mask),
        backend=counter,
        fullgraph=True,
        dynamic=False,
    )
    query = torch.randn(1, 2, 256, 16, generator=torch.Generator().manual_seed(6))
    found = []
    with torch.no_grad():
        for cut in (70, 128, 200):
            position = torch.arange(256)
            start = torch.where(position < cut, 0, cut)[None]
            nothing = torch.zeros_like(start)
            spans = Spans(nothing, nothing, start)
            found.append(attend(query, spans.block_mask()))
            expected = functional.scaled_dot_product_attention(query, query, query, attn_mask=spans.dense())
            torch.testing.assert_close(found[-1], expected, rtol=0, atol=1e-5)
    assert counter.frame_count == 1
    assert isinstance(spans.block_mask(), BlockMask)


def test_lengths_are_few_and_waste_little() -> None:
    lengths = [flex_length(tokens) for tokens in range(1, 32769)]
    assert all(length % 128 == 0 for length in lengths)
    for tokens, length in enumerate(lengths, start=1):
        assert tokens <= length <= max(128, 2 * tokens - 1, min(tokens + 1023, tokens * 1.125 + 1023))
    assert [*dict.fromkeys(lengths)][:6] == [128, 256, 512, 1024, 2048, 3072]
    assert len({length for length in lengths if 8192 < length <= 16384}) == 8
    assert len({length for length in lengths if 16384 < length <= 32768}) == 8
    assert len(set(lengths)) == 27
    assert [flex_length(length) for length in sorted(set(lengths))] == sorted(set(lengths))
    for budget in (1, 128, 400, 1000, 1024, 10000, 16384, 20000):
        room = flex_capacity(budget)
        assert room <= max(budget, 128)
        assert flex_length(room) == room
        assert budget < 128 or flex_length(room + 1) > budget
