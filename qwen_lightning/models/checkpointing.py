"""Selective checkpointing: as few decoder layers as memory allows are recomputed in backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.backbone import decoder_of, head_of
from qwen_lightning.models.memory import free_memory

CheckpointingMode = Literal["auto"] | bool

#: Memory that a plan leaves alone, in bytes: kernels' workspaces, dequantised weights, fragmentation.
RESERVE = 2 * 2**30
#: fp32 values a logit while the head's chunk is computed and derived: logits, their softmax, gradient, entropies.
_HEAD_COPIES = 4


@dataclass(frozen=True, slots=True)
class Activations:
    """What a forward pass keeps for its backward, in bytes a token.

    Args:
        layers: Of each decoder layer: all that autograd saves.
        inputs: Of each decoder layer: its input, which is all that is kept of a layer that is recomputed.
        rest: Outside the layers.
    """

    layers: tuple[float, ...]
    inputs: tuple[float, ...]
    rest: float

    def peak(self, tokens: int, recomputed: int, head: float = 0.0) -> float:
        """Most bytes at a time in the step of a pack whose first `recomputed` layers are recomputed.

        The head computes its logits when every layer holds what it keeps; backward, later, needs gradients beside
        that. Gradients within a layer take at most as much again as the layer holds, and at least one layer is whole
        at a time.
        """
        largest = max(self.layers)
        kept = sum(self.layers[recomputed:]) or largest
        held = tokens * (sum(self.inputs[:recomputed]) + kept + self.rest)
        return held + max(head, tokens * largest)


def layers_to_recompute(activations: Activations, tokens: int, budget: float, head: float = 0.0) -> int:
    """The least number of first layers whose recomputation lets a pack fit; all of them where none does.

    Args:
        activations: Of the model.
        tokens: Of the largest pack.
        budget: Bytes.
        head: Bytes that the head's logits take, after the layers' forward passes.
    """
    count = len(activations.layers)
    return next((n for n in range(count) if activations.peak(tokens, n, head) <= budget), count)


def decoder_layers(model: PreTrainedModel) -> list[GradientCheckpointingLayer]:
    """The layers that can be recomputed one by one, in order.

    Raises:
        ConfigError: The architecture has none.
    """
    layers = [module for module in decoder_of(model).modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ConfigError(
            f"{type(model).__name__} has no layers that can be recomputed; set model.gradient_checkpointing to false"
        )
    return layers


def recompute_layers(model: PreTrainedModel, count: int) -> None:
    """Recompute the first `count` decoder layers in backward, where the model is in training mode.

    The first and not the last, for backward has freed what the last ones hold by the time it recomputes the first.
    """
    for index, layer in enumerate(decoder_layers(model)):
        layer.gradient_checkpointing = index < count
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)  # type: ignore[assignment]


def measure_activations(model: PreTrainedModel, tokens: int, forward: Callable[[], Any]) -> Activations:
    """Count what autograd saves in one forward pass, without keeping it.

    A storage counts once; weights, and what all layers are given alike (masks of either kind, rotations), count in no
    layer. Only one layer's activations live at a time. The random state stays as it was.

    Args:
        model: In training mode, no layer recomputed.
        tokens: That the pass computes, padding included.
        forward: The pass.
    """
    layers = decoder_layers(model)
    weights = {_address(tensor) for tensor in chain(model.parameters(), model.buffers())}
    outside = len(layers)
    saved, inputs = [0] * (outside + 1), [0] * outside
    place = outside
    shared: dict[int, Tensor] = {}
    seen: dict[int, Tensor] = {}  # while a tensor lives, no other takes its address

    def count(tensor: Tensor) -> None:
        address = _address(tensor)
        if address not in weights and address not in seen:
            seen[address] = tensor
            saved[outside if address in shared else place] += tensor.untyped_storage().nbytes()

    def enter(index: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal place
        hidden, *others = [*_tensors((args, tuple(kwargs.values())))]
        place, inputs[index] = index, hidden.nbytes
        shared.update((_address(tensor), tensor) for tensor in others)

    def leave(*_: Any) -> None:
        nonlocal place
        place = outside
        for address in seen.keys() - shared.keys():
            del seen[address]

    def refuse(_: None) -> Tensor:
        raise RuntimeError("a pass that was only measured has no backward")

    hooks = [layer.register_forward_pre_hook(partial(enter, i), with_kwargs=True) for i, layer in enumerate(layers)]
    hooks += [layer.register_forward_hook(leave, always_call=True) for layer in layers]
    device = model.device
    try:
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            torch.enable_grad(),
            saved_tensors_hooks(count, refuse),
        ):
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return Activations(
        layers=tuple(size / tokens for size in saved[:outside]),
        inputs=tuple(size / tokens for size in inputs),
        rest=saved[outside] / tokens,
    )


class Checkpointing:
    """Recomputes layers of a model in backward: all, none, or with `auto` as many as memory asks for on CUDA.

    Recomputing changes no loss and no gradient. On a CPU `auto` recomputes nothing: there, time is what is short.

    Args:
        model: The backbone, adapters injected.
        mode: `auto`, True for all layers, False for none.
        pack_tokens: Tokens of the packs that a plan is for; a larger pack makes a new one.
        head_rows: Rows whose logits the head computes at a time.

    Attributes:
        recomputed: How many layers, from the first.

    Raises:
        ConfigError: The architecture has no layers that can be recomputed, and they are asked for.
    """

    def __init__(self, model: PreTrainedModel, mode: CheckpointingMode, pack_tokens: int, head_rows: int) -> None:
        self.model, self.mode, self.pack_tokens = model, mode, pack_tokens
        self.recomputed = 0
        self._head = 4.0 * _HEAD_COPIES * head_rows * cast(Tensor, head_of(model).weight).shape[0]
        self._planned = 0
        self._activations: Activations | None = None
        if mode is True:
            self.recompute_all()

    @property
    def needed(self) -> float | None:
        """Bytes that a step needs by the plan, half the reserve among them; None before a plan."""
        if self._activations is None:
            return None
        # The other half goes to what the first steps take for good, such as workspaces.
        return self._step() + RESERVE / 2

    def free(self) -> float | None:
        """Bytes that a step may take now; None where memory is not the matter."""
        return free_memory(self.model.device)

    def is_short(self) -> bool:
        """Whether less is free now than a step needs by the plan: something else took it since."""
        needed = self.needed
        return needed is not None and (free := self.free()) is not None and free < needed

    def prepare(self, tokens: int, forward: Callable[[], Any]) -> str | None:
        """Plan before a step's first pass, where its largest pack is larger than any so far.

        Args:
            tokens: Of the step's largest pack, padding included.
            forward: That pack's pass, to be measured the first time.

        Returns:
            What was planned, in a line; None where nothing was.
        """
        if self.mode != "auto" or tokens <= self._planned or (free := self.free()) is None:
            return None
        if self._activations is None and self.recomputed:
            return None  # memory ran out before anything could be measured
        if self._activations is None:
            recompute_layers(self.model, 0)
            self._activations = measure_activations(self.model, tokens, forward)
        self._planned = max(tokens, self.pack_tokens)
        budget = free - RESERVE - self._adapters()
        count = layers_to_recompute(self._activations, self._planned, budget, self._head)
        self.recomputed = max(count, self.recomputed)
        recompute_layers(self.model, self.recomputed)
        needed = self._step()
        advice = "; should it run out, lower micro_batch_tokens" if needed + RESERVE > free else ""
        return (
            f"gradient_checkpointing: {self.recomputed} of {len(self._activations.layers)} layers are recomputed; a "
            f"pack of {self._planned} tokens needs about {_gib(needed)}, {_gib(free)} are free, "
            f"{_gib(RESERVE)} of them in reserve{advice}"
        )

    def recompute_all(self) -> bool:
        """Recompute every layer from now on; False where it was so already."""
        count = len(decoder_layers(self.model))
        changed = self.recomputed < count
        self.recomputed = count
        recompute_layers(self.model, count)
        return changed

    def _step(self) -> float:
        assert self._activations is not None
        return self._activations.peak(self._planned, self.recomputed, self._head) + self._adapters()

    def _adapters(self) -> float:
        # Gradients and the optimizer's two moments come with the first step.
        return 3 * sum(weight.nbytes for weight in self.model.parameters() if weight.requires_grad)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)
        elif isinstance(value, BlockMask):
            spans = [cell.cell_contents for cell in getattr(value.mask_mod, "__closure__", None) or ()]
            yield from _tensors((value.as_tuple(), spans))


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
