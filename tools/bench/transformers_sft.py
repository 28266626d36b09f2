"""The step of a plain transformers loop: rows in random order, padded to the longest of their micro-batch."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from torch.optim import AdamW

from qwen_lightning.data.batches import SFTBatch
from qwen_lightning.models.checkpointing import decoder_layers, recompute_layers
from qwen_lightning.models.policy import PolicyModel

IGNORED = -100


class TransformersSFT:
    """One optimizer step a call, with the model's own loss over all logits.

    Args:
        policy: The model, adapter included.
        batch: Examples of the step.
        rows: Examples a micro-batch.
        recompute: Whether to recompute all layers in backward.
        liger: Whether to put liger-kernel's functions in the place of transformers'; they stay there.
        random: Draws the order.
    """

    def __init__(
        self, policy: PolicyModel, batch: SFTBatch, rows: int, recompute: bool, liger: bool, random: Random
    ) -> None:
        self.policy, self.device = policy.train(), policy.device
        self.optimizer = AdamW(policy.trainable(), lr=1e-6, weight_decay=0.0)
        policy.share_rows = False
        recompute_layers(policy.backbone, len(decoder_layers(policy.backbone)) if recompute else 0)
        if liger:
            from liger_kernel.transformers import apply_liger_kernel_to_qwen3  # type: ignore[import-untyped]

            apply_liger_kernel_to_qwen3(model=policy.backbone)
        examples = list(zip(batch.prompt_ids, batch.completion_ids, strict=True))
        random.shuffle(examples)
        self.parts = [_padded(examples[start : start + rows], self.device) for start in range(0, len(examples), rows)]
        self.labels = sum(len(completion) for _, completion in examples)

    def __call__(self) -> None:
        for ids, mask, labels in self.parts:
            output = self.policy.backbone(
                input_ids=ids, attention_mask=mask, labels=labels, use_cache=False, num_items_in_batch=self.labels
            )
            output.loss.backward()
        clip_grad_norm_(self.policy.trainable(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def _padded(examples: list[tuple[list[int], list[int]]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and labels, (rows, longest)."""
    rows = [torch.tensor(prompt + completion) for prompt, completion in examples]
    labels = [torch.tensor([IGNORED] * len(prompt) + completion) for prompt, completion in examples]
    ids = pad_sequence(rows, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return ids.to(device), mask.to(device), pad_sequence(labels, batch_first=True, padding_value=IGNORED).to(device)
