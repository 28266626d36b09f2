"""The backbone's linear layers as a decode step wants them: fused by input, the adapter merged or beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional

from qwen_lightning.models.backbone import decoder_of
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.grouped.nf4 import NF4Linear, Scratch

Projection = Callable[[Tensor], Tensor]
Placement = Literal["resident", "merged"]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One decoder layer. Projections take (rows, in) and give (rows, out).

    Args:
        input_norm: (hidden,) weight of the norm before attention.
        post_norm: (hidden,) weight of the norm before the MLP.
        q_norm: (head size,) weight of the norm of queries, None where the architecture has none.
        k_norm: The same of keys.
        qkv: Queries, keys and values, side by side.
        out: Attention's output.
        gate_up: The MLP's gate and up, side by side.
        down: The MLP's output.
    """

    input_norm: Tensor
    post_norm: Tensor
    q_norm: Tensor | None
    k_norm: Tensor | None
    qkv: Projection
    out: Projection
    gate_up: Projection
    down: Projection

    @classmethod
    def of(cls, layer: Any, projection: Callable[[list[nn.Module]], Projection]) -> LayerWeights:
        """From a transformers layer, its linear modules made to projections by common input."""
        qkv, out, gate_up, down = map(projection, projections(layer))
        return cls(
            input_norm=layer.input_layernorm.weight,
            post_norm=layer.post_attention_layernorm.weight,
            q_norm=_norm_weight(layer.self_attn, "q_norm"),
            k_norm=_norm_weight(layer.self_attn, "k_norm"),
            qkv=qkv,
            out=out,
            gate_up=gate_up,
            down=down,
        )


class DecoderWeights:
    """The weights of all layers under the adapter in use; `refresh` follows the adapter.

    Args:
        policy: The model.
        placement: `resident` computes on the backbone's own weights, the adapter beside them; `merged` on a copy in
            the model's dtype with the adapter merged in. The copy rounds once, after the merge in fp32; nothing is
            ever merged into quantised weights.
    """

    def __init__(self, policy: PolicyModel, placement: Placement) -> None:
        self.policy, self.placement = policy, placement
        self._scratch: Scratch | None = None
        self._projections: list[_Merged | _Beside] = []
        self._followed: tuple[str | None, Tensor] | None = None
        self.layers = [LayerWeights.of(layer, self._projection) for layer in _layers(policy)]

    def refresh(self) -> None:
        """Follow the adapter in use, where its weights are not those of the last time."""
        adapter = self.policy.adapter_in_use
        # Compared as values: not every optimizer counts up a tensor's version.
        parameters = [parameter.detach().flatten() for parameter in self._parameters(adapter)]
        weights = torch.cat(parameters) if parameters else torch.empty(0)
        followed = self._followed
        if followed is not None and followed[0] == adapter and torch.equal(followed[1], weights):
            return
        for projection in self._projections:
            projection.follow(adapter)
        self._followed = adapter, weights

    def _projection(self, modules: Sequence[nn.Module]) -> Projection:
        dtype = self.policy.backbone.dtype
        projection: _Merged | _Beside
        if self.placement == "merged":
            projection = _Merged(modules, dtype)
        else:
            projection = _Beside(modules, dtype, self._side_by_side([_base(module) for module in modules]))
        self._projections.append(projection)
        return projection

    def _side_by_side(self, bases: Sequence[Any]) -> Projection:
        if NF4Linear.takes(bases):
            if self._scratch is None:
                self._scratch = Scratch(self.policy.device, self.policy.backbone.dtype)
            return NF4Linear(bases, self._scratch)
        if len(bases) == 1:
            return bases[0]
        return lambda x: torch.cat([base(x) for base in bases], -1)

    def _parameters(self, adapter: str | None) -> Iterator[Tensor]:
        for projection in self._projections:
            for module in projection.modules:
                if adapter is not None and isinstance(module, LoraLayer):
                    yield from _factors(module, adapter)


def merged_bytes(policy: PolicyModel) -> int:
    """Memory that a merged copy takes."""
    bases = [_base(module) for layer in _layers(policy) for modules in projections(layer) for module in modules]
    return policy.backbone.dtype.itemsize * sum(base.in_features * base.out_features for base in bases)


class _Merged:
    """Linear layers with a common input as one matrix, the adapter merged in."""

    def __init__(self, modules: Sequence[nn.Module], dtype: torch.dtype) -> None:
        self.modules = modules
        bases = [_base(module) for module in modules]
        self.sizes = [base.out_features for base in bases]
        self.weight = torch.empty(sum(self.sizes), bases[0].in_features, dtype=dtype, device=bases[0].weight.device)
        self.bias = _bias(bases, self.weight)
        for base, part in zip(bases, self.weight.split(self.sizes), strict=True):
            part.copy_(_plain(base))

    def follow(self, adapter: str | None) -> None:
        """Merge an adapter, into the memory that a captured graph reads."""
        for module, part in zip(self.modules, self.weight.split(self.sizes), strict=True):
            if not isinstance(module, LoraLayer):
                continue
            base = _plain(_base(module))
            if adapter is None:
                part.copy_(base)
            else:
                down, up = _factors(module, adapter)
                part.copy_(torch.addmm(base.float(), up.float(), down.float(), alpha=module.scaling[adapter]))

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class _Beside:
    """Linear layers with a common input as they are; their adapters as one product down and one up."""

    def __init__(self, modules: Sequence[nn.Module], dtype: torch.dtype, base: Projection) -> None:
        self.modules, self.base = modules, base
        bases = [_base(module) for module in modules]
        self.sizes = [base.out_features for base in bases]
        ranks = [next(iter(module.r.values())) if isinstance(module, LoraLayer) else 0 for module in modules]
        device = bases[0].weight.device
        # (in, ranks) and (ranks, out): zero outside each module's own block.
        self.down = torch.zeros(bases[0].in_features, sum(ranks), dtype=dtype, device=device)
        self.up = torch.zeros(sum(ranks), sum(self.sizes), dtype=dtype, device=device)
        self.ranks = ranks

    def follow(self, adapter: str | None) -> None:
        """Copy an adapter's weights, into the memory that a captured graph reads."""
        row = column = 0
        for module, rank, size in zip(self.modules, self.ranks, self.sizes, strict=True):
            if rank:
                own_down, own_up = self.down[:, row : row + rank], self.up[row : row + rank, column : column + size]
                if adapter is None:
                    own_up.zero_()
                else:
                    assert isinstance(module, LoraLayer)
                    down, up = _factors(module, adapter)
                    own_down.copy_(down.T)
                    own_up.copy_(module.scaling[adapter] * up.T)
            row, column = row + rank, column + size

    def __call__(self, x: Tensor) -> Tensor:
        result = self.base(x)
        return result.addmm_(x @ self.down, self.up) if self.down.shape[1] else result


def _bias(bases: Sequence[Any], weight: Tensor) -> Tensor | None:
    if all(base.bias is None for base in bases):
        return None
    return torch.cat([weight.new_zeros(base.out_features) if base.bias is None else base.bias for base in bases])


def projections(layer: Any) -> tuple[list[nn.Module], ...]:
    """A decoder layer's linear modules, by common input: queries with keys and values, out, gate with up, down."""
    attention, mlp = layer.self_attn, layer.mlp
    return (
        [attention.q_proj, attention.k_proj, attention.v_proj],
        [attention.o_proj],
        [mlp.gate_proj, mlp.up_proj],
        [mlp.down_proj],
    )


def _layers(policy: PolicyModel) -> Any:
    decoder: Any = decoder_of(policy.backbone)
    return decoder.layers


def _base(module: nn.Module) -> Any:
    return module.base_layer if isinstance(module, LoraLayer) else module


def _factors(module: LoraLayer, adapter: str) -> tuple[Tensor, Tensor]:
    """An adapter's A (r, in) and B (out, r)."""
    return cast(Tensor, module.lora_A[adapter].weight), cast(Tensor, module.lora_B[adapter].weight)


def _plain(base: Any) -> Tensor:
    """(out, in) weight of a linear layer, dequantised."""
    state = getattr(base.weight, "quant_state", None)
    if state is None:
        return base.weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(base.weight.data, state)


def _norm_weight(module: nn.Module, name: str) -> Tensor | None:
    norm = getattr(module, name, None)
    return None if norm is None else norm.weight
