"""A decoding through the kernels of a GPU, interpreted."""

from __future__ import annotations

from concurrent.futures import Executor

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.chat import ChatRenderer
from qwen_lightning.models.policy import LoRASettings, PolicyModel
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.rollout.grouped.cache import CacheShape
from qwen_lightning.rollout.grouped.decoder import Decoder
from qwen_lightning.rollout.grouped.memory import plan_batches
from qwen_lightning.rollout.grouped.session import DecodingSession
from qwen_lightning.rollout.grouped.weights import DecoderWeights, Placement
from tools.demo.tiny import TinyDemo

pytest.importorskip("triton", reason="torch for this platform comes without Triton")


def decoded_by_kernels(base: str, prompts: list[list[int]]) -> tuple[list[list[int]], list[list[int]], set[int]]:
    """Greedy completions by `generate` and by a session, and the batch sizes that the session ran."""
    torch.manual_seed(0)
    policy = PolicyModel(load_backbone(base, "none", "float32"), LoRASettings(dropout=0.0))
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    renderer = ChatRenderer.from_pretrained(base)
    free = [group[0].ids for group in GenerateRollout().generate(policy, renderer, prompts, 1, 7, 0.0)]
    first = {token: min(ids.index(token) for ids in free if token in ids) for ids in free for token in ids}
    renderer.eos_ids = [token for token, place in first.items() if place in (2, 4)]  # so that rows leave in turn
    expected = [group[0].ids for group in GenerateRollout().generate(policy, renderer, prompts, 1, 7, 0.0)]

    sizes: set[int] = set()

    class KernelSession(DecodingSession):
        def _attend(self, layer, query, key, value):
            sizes.add(len(query))
            self.cache.write(layer, key, value)
            return self._attend_in_kernel(layer, query)

    with policy.evaluating():
        weights = DecoderWeights(policy, "merged")
        weights.refresh()
        decoder = Decoder(policy.backbone, weights.layers)
        (batch,) = plan_batches([len(prompt) for prompt in prompts], [2] * len(prompts), 7, 100, 10**6, 16)
        session = KernelSession(decoder, batch.shape, renderer.eos_ids, row_buckets=True)
        found: list[list[int]] = [[]] * len(prompts)
        chosen = [prompts[index] for index in batch.prompts]
        for index, group in zip(batch.prompts, session.decode(chosen, batch.counts, 7, 0.0), strict=True):
            assert group[0].ids == group[1].ids
            found[index] = group[0].ids
    return expected, found, sizes


def test_kernels_and_session_are_generate(interpreter: Executor, demo: TinyDemo, prompts: list[list[int]]) -> None:
    expected, found, sizes = interpreter.submit(decoded_by_kernels, str(demo.base), prompts[:4]).result()
    assert found == expected
    assert len(set(map(len, expected))) > 1
    assert len(sizes) > 1  # the batch became smaller


@pytest.mark.parametrize("placement", ["merged", "resident"])
def test_a_step_waits_for_nothing(policy: PolicyModel, renderer: ChatRenderer, placement: Placement) -> None:
    """What a CUDA graph captures must not look at a value: fake tensors have none."""
    decoder = Decoder(policy.backbone, DecoderWeights(policy, placement).layers)
    session = DecodingSession(decoder, CacheShape(2, 8, 4, 6), renderer.eos_ids, row_buckets=True)

    def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        session.cache.write(layer, key, value)
        return torch.zeros_like(query)

    session._attend = attend  # in place of the kernels
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        session._step(4, 0.7)
        with pytest.raises(DataDependentOutputException):
            int(session._live.sum())
