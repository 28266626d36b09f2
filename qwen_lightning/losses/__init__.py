"""Losses: the GRPO family, completion-only cross-entropy, and the log-probs both are made of."""

from qwen_lightning.losses.base import LossOutput, StepTotals
from qwen_lightning.losses.grpo import GRPOLoss, LossInputs
from qwen_lightning.losses.logprobs import token_logprobs
from qwen_lightning.losses.sft import SFTLoss

__all__ = ["GRPOLoss", "LossInputs", "LossOutput", "SFTLoss", "StepTotals", "token_logprobs"]
