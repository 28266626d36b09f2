"""Policy and reference: two adapters on one backbone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
from peft import LoraConfig, LoraModel, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel

from qwen_lightning.errors import AdapterError, ConfigError
from qwen_lightning.models.attention import Layout, layout_of, mask_of, use_spans
from qwen_lightning.models.backbone import decoder_of, head_of
from qwen_lightning.models.spans import Spans

POLICY, REFERENCE = "policy", "reference"


@dataclass
class LoRASettings:
    """Shape of the adapters (Hu and others, LoRA, 2021).

    Args:
        r: Rank.
        alpha: Scale; the update is weighted by alpha / r.
        dropout: Dropout on the adapter's input.
        target_modules: Names of the linear layers that get an adapter.
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.05
    target_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj", "o_proj"])

    def to_peft(self) -> LoraConfig:
        """As peft's configuration."""
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=list(self.target_modules),
        )


class PolicyModel(nn.Module):
    """A frozen backbone with a trainable adapter `policy` and, where asked for, a frozen adapter `reference`.

    Args:
        backbone: The frozen model.
        lora: The adapters' shape.
        start: Weights that both adapters start from, by peft's names; None starts `policy` at the bare backbone.
        with_reference: Whether to add the reference.

    Raises:
        ConfigError: The backbone has none of the target modules.
        AdapterError: `start` does not fit.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        lora: LoRASettings,
        start: dict[str, Tensor] | None = None,
        with_reference: bool = False,
    ) -> None:
        super().__init__()
        use_spans(backbone)
        self.share_rows = True
        try:
            with warnings.catch_warnings():
                # peft asks transformers for it by the old name.
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
                self.peft: PeftModel = get_peft_model(backbone, lora.to_peft(), adapter_name=POLICY)
        except ValueError as error:
            raise ConfigError(f"lora.target_modules {lora.target_modules}: {error}") from error
        if start is not None:
            self.load_adapter(start, POLICY)
        if with_reference:
            self.peft.add_adapter(REFERENCE, lora.to_peft())
            self.load_adapter(self.adapter_state(POLICY), REFERENCE)
        self._use(POLICY)

    @property
    def backbone(self) -> PreTrainedModel:
        """The transformers model, adapters injected."""
        return cast(PreTrainedModel, self.peft.get_base_model())

    @property
    def device(self) -> torch.device:
        """Where the embeddings lie."""
        return cast(Tensor, self.backbone.get_input_embeddings().weight).device

    @property
    def head(self) -> nn.Module:
        """The output head."""
        return head_of(self.backbone)

    @property
    def layout(self) -> Layout:
        """How packs are laid out for `hidden_states`; `plain` where `share_rows` is false."""
        return layout_of(self.backbone) if self.share_rows else "plain"

    def hidden_states(
        self, input_ids: Tensor, attention_mask: Tensor | Spans, position_ids: Tensor | None = None
    ) -> Tensor:
        """Last hidden states under the adapter in use.

        Args:
            input_ids: (rows, length) ids, padded on the right.
            attention_mask: (rows, length), 1 on tokens; or what each token sees, unless the layout is `plain`.
            position_ids: (rows, length) of each token within its own sequence; 0, 1, … unless given.

        Returns:
            (rows, length, hidden size).

        Raises:
            ValueError: Spans, and the backbone takes one sequence a row.
        """
        mask = mask_of(attention_mask, self.layout) if isinstance(attention_mask, Spans) else attention_mask
        return decoder_of(self.backbone)(
            input_ids=input_ids, attention_mask=mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state

    def trainable(self) -> list[nn.Parameter]:
        """The policy's parameters."""
        return [parameter for name, parameter in self.named_parameters() if f".{POLICY}." in name]

    def adapter_state(self, adapter: str = POLICY) -> dict[str, Tensor]:
        """The adapter's weights by peft's names, the ones that an adapter file holds."""
        return get_peft_model_state_dict(self.peft, adapter_name=adapter)

    def load_adapter(self, state: dict[str, Tensor], adapter: str = POLICY) -> None:
        """Copy weights into an adapter.

        Raises:
            AdapterError: Names or shapes differ from the adapter's.
        """
        own = self.adapter_state(adapter)
        if own.keys() != state.keys():
            lost, extra = sorted(own.keys() - state.keys())[:3], sorted(state.keys() - own.keys())[:3]
            raise AdapterError(
                f"adapter does not fit the backbone: missing {lost}, unexpected {extra}; "
                "check target_modules and the model"
            )
        for name, tensor in state.items():
            if own[name].shape != tensor.shape:
                raise AdapterError(
                    f"adapter does not fit the backbone: {name} is {tuple(tensor.shape)}, "
                    f"not {tuple(own[name].shape)}; check r and the model"
                )
        set_peft_model_state_dict(self.peft, state, adapter_name=adapter)

    @property
    def adapter_in_use(self) -> str | None:
        """Name of the adapter that a forward pass goes through now; None within `bare`."""
        layer = next(module for module in self.backbone.modules() if isinstance(module, BaseTunerLayer))
        return None if layer.disable_adapters else layer.active_adapters[0]

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Compute under the frozen reference. Leave before `backward`: recomputation runs under the adapter in use."""
        self._use(REFERENCE)
        try:
            yield
        finally:
            self._use(POLICY)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Compute under the bare backbone, without any adapter."""
        with self.peft.disable_adapter():
            yield

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients, and back."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(training)

    def _use(self, adapter: str) -> None:
        cast(LoraModel, self.peft.base_model).set_adapter(adapter, inference_mode=adapter != POLICY)
