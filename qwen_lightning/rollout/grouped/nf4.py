"""Linear layers of a decode step on bitsandbytes' 4-bit weights.

With few rows a product is bound by its weights' way through memory. Dequantised as a whole, they go through it three
times, twice at four times their size. Here the memory sees the 4-bit weights alone: they are dequantised in slices of
output rows into one small scratch that stays in the L2 cache, or on their way to the tensor cores. Which way is the
quickest, or whether bitsandbytes' own is, depends on the card and the shape: all are measured, once a shape.
"""

from __future__ import annotations

import math
import os
import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from qwen_lightning.errors import ConfigError

if TYPE_CHECKING:
    from bitsandbytes.nn import Linear4bit

# Of the L2 cache, for the scratch: an H100's two halves each keep what its own processors read, and packed weights,
# inputs and results pass through beside.
CACHE_SHARE = 0.35
SCRATCH_BYTES = 2**23  # where there is no such cache
MEASURED_ROWS = 512  # up to these a way is measured; a prefill's rows are all in slices
REPEATS = 5


class Scratch:
    """What the linears of a model share: room for dequantised weights, and the quickest way for each shape.

    One stream at a time may use it. Measurements last as long as the process.

    Args:
        device: Where the layers are.
        dtype: That they compute in.
        size: Bytes; None: a part of the device's L2 cache.
    """

    choices: ClassVar[dict[tuple[object, ...], str]] = {}

    def __init__(self, device: torch.device, dtype: torch.dtype, size: int | None = None) -> None:
        if size is None:
            size = int(CACHE_SHARE * _cache_size(device)) if device.type == "cuda" else SCRATCH_BYTES
        self.buffer = torch.empty(size // dtype.itemsize, dtype=dtype, device=device)
        self._linears: list[weakref.ref[NF4Linear]] = []

    def add(self, linear: NF4Linear) -> None:
        """Count a linear among the peers of its shape."""
        self._linears.append(weakref.ref(linear))

    def peers(self, linear: NF4Linear) -> list[NF4Linear]:
        """Linears of the same shape, as many as don't fit into the cache together."""
        alive = (reference() for reference in self._linears)
        alike = [peer for peer in alive if peer is not None and peer.shape == linear.shape]
        if self.buffer.device.type == "cuda":
            alike = alike[: math.ceil(2 * _cache_size(self.buffer.device) / linear.packed_bytes)]
        return alike


@dataclass(frozen=True, slots=True)
class _Piece:
    """Output rows of one layer that are dequantised in one call."""

    packed: Tensor
    scales: Tensor
    weight: Tensor  # (rows, in), in the scratch


@dataclass(frozen=True, slots=True)
class _Slice:
    """Output rows start … end - 1 of all layers together."""

    pieces: list[_Piece]
    weight: Tensor  # (end - start, in), in the scratch
    start: int
    end: int


class NF4Linear:
    """`Linear4bit` layers with a common input as one: (rows, in) to (rows, sum of outs).

    It reads the layers' own packed weights. The scales of blocks, which double quantisation holds in 8 bits, are
    resolved once: another 4 bytes for 64 weights, 434 MB for Qwen3-8B.

    A call waits for nothing on the device, and can be captured in a CUDA graph. The first call for a number of rows
    (rounded up to a power of two) measures which way is quickest, unless it is itself being captured.

    Args:
        layers: The layers, quantised and on one device.
        scratch: Shared with the model's other linears.

    Raises:
        ConfigError: A layer is not quantised, was repacked for a CPU's instructions, has inputs that are no whole
            blocks, or doesn't fit the others or the scratch.
    """

    def __init__(self, layers: Sequence[Linear4bit], scratch: Scratch) -> None:
        self.scratch = scratch
        self.in_features = layers[0].in_features
        self._layers = [_Packed.of(layer, scratch) for layer in layers]
        self._block, self._kind = self._layers[0].block, self._layers[0].kind
        kinds = {(layer.in_features, one.block, one.kind) for layer, one in zip(layers, self._layers, strict=True)}
        if len(kinds) > 1:
            raise ConfigError("layers with a common input must have equally many features and the same quantisation")
        if self.in_features % self._block:
            raise ConfigError(f"{self.in_features} input features are no whole blocks of {self._block}")
        self.shape = (self.in_features, *(layer.out_features for layer in layers))
        self.out_features = sum(self.shape[1:])
        self.packed_bytes = sum(layer.packed.numel() for layer in self._layers)
        self._bias = self._biases(layers)
        self._slices = list(self._sliced())
        scratch.add(self)

    @staticmethod
    def takes(layers: Sequence[nn.Module]) -> bool:
        """Whether these are quantised layers, as bitsandbytes packed them first and in whole blocks."""
        states = [getattr(layer.weight, "quant_state", None) for layer in layers]
        return all(
            state is not None
            and not getattr(state, "packing_format_for_cpu", False)
            and not state.shape[1] % state.blocksize
            for state in states
        )

    @property
    def ways(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The ways to compute, by name."""
        ways: dict[str, Callable[[Tensor], Tensor]] = {"slices": self.in_slices, "whole": self.as_whole}
        return ways | {"fused": self.fused} if self._fusible else ways

    def __call__(self, x: Tensor) -> Tensor:
        dtype = self.scratch.buffer.dtype
        return self.ways[self._way(x)](x.to(dtype)).to(x.dtype)

    def in_slices(self, x: Tensor) -> Tensor:
        """Dequantise a slice into the scratch, multiply, go on with the next."""
        result = x.new_empty(len(x), self.out_features)
        for part in self._slices:
            for piece in part.pieces:
                self._dequantise(piece)
            torch.mm(x, part.weight.T, out=result[:, part.start : part.end])
        return result if self._bias is None else result.add_(self._bias)

    def as_whole(self, x: Tensor) -> Tensor:
        """One product of bitsandbytes a layer: fused, or dequantised as a whole, by its own rules."""
        results = [
            torch.ops.bitsandbytes.gemm_4bit(
                x,
                layer.packed[:, None],
                [size, self.in_features],
                layer.scales,
                self._block,
                self._kind,
            )
            for layer, size in zip(self._layers, self.shape[1:], strict=True)
        ]
        result = results[0] if len(results) == 1 else torch.cat(results, -1)
        return result if self._bias is None else result.add_(self._bias)

    def fused(self, x: Tensor) -> Tensor:
        """Our kernel, which dequantises what it multiplies."""
        from qwen_lightning.rollout.grouped.triton_nf4 import nf4_product

        packed, scales = [layer.packed for layer in self._layers], [layer.scales for layer in self._layers]
        result = nf4_product(x, packed, scales, self._layers[0].codes, self.shape[1:], self._block)
        return result if self._bias is None else result.add_(self._bias)

    @property
    def _fusible(self) -> bool:
        """Whether our kernel takes these layers; Triton comes with torch for CUDA alone."""
        on_device = self.scratch.buffer.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
        return on_device and len(self._layers) <= 3 and not self.in_features % 128 and not 128 % self._block

    def _way(self, x: Tensor) -> str:
        rows = len(x)
        key = self.key(rows)
        chosen = self.scratch.choices.get(key)
        if chosen is not None:
            return chosen
        if not x.is_cuda or rows > MEASURED_ROWS or torch.cuda.is_current_stream_capturing():
            return "slices"
        return self.scratch.choices.setdefault(key, self.measure(x))

    def key(self, rows: int) -> tuple[object, ...]:
        """What the quickest way depends on."""
        buffer = self.scratch.buffer
        return buffer.device, buffer.dtype, self.shape, 1 << (rows - 1).bit_length()

    def measure(self, x: Tensor) -> str:
        """The quickest way for an input of this shape, over linears enough that their weights come from memory."""
        peers = self.scratch.peers(self)
        x = x.to(self.scratch.buffer.dtype)

        def through(way: str) -> None:
            for peer in peers:
                peer.ways[way](x)

        return fastest({name: partial(through, name) for name in self.ways}, x.device)

    def _sliced(self) -> Iterator[_Slice]:
        """Slices that fill the scratch evenly; one may hold the end of a layer and the next one's start."""
        room = self.scratch.buffer.numel() // self.in_features
        if not room:
            raise ConfigError(f"a scratch of {self.scratch.buffer.numel()} values holds no {self.in_features} of a row")
        tile = 128 if room >= 128 else 1  # rows of a tile of a matrix product: slices are whole ones
        room = room // tile * tile
        even = math.ceil(self.out_features / math.ceil(self.out_features / room))
        step = math.ceil(even / tile) * tile
        for start in range(0, self.out_features, step):
            end = min(start + step, self.out_features)
            weight = self.scratch.buffer[: (end - start) * self.in_features].view(-1, self.in_features)
            yield _Slice(list(self._pieces(start, end, weight)), weight, start, end)

    def _pieces(self, start: int, end: int, weight: Tensor) -> Iterator[_Piece]:
        first = 0  # of the layer
        for layer, size in zip(self._layers, self.shape[1:], strict=True):
            begin, stop = max(start, first), min(end, first + size)
            if begin < stop:
                one, two = (begin - first) * self.in_features, (stop - first) * self.in_features
                yield _Piece(
                    layer.packed[one // 2 : two // 2],
                    layer.scales[one // self._block : two // self._block],
                    weight[begin - start : stop - start],
                )
            first += size

    def _dequantise(self, piece: _Piece) -> None:
        shape, dtype = list(piece.weight.shape), piece.weight.dtype
        arguments = (piece.packed, piece.scales, self._block, self._kind, shape, dtype)
        if piece.weight.device.type == "cpu":  # for which bitsandbytes has no kernel that writes in place
            piece.weight.copy_(torch.ops.bitsandbytes.dequantize_4bit(*arguments))
        else:
            torch.ops.bitsandbytes.dequantize_4bit.out(*arguments, out=piece.weight)

    def _biases(self, layers: Sequence[Linear4bit]) -> Tensor | None:
        if all(layer.bias is None for layer in layers):
            return None
        buffer = self.scratch.buffer
        biases = [buffer.new_zeros(layer.out_features) if layer.bias is None else layer.bias for layer in layers]
        return torch.cat([bias.detach().to(buffer.dtype) for bias in biases])


@dataclass(frozen=True, slots=True)
class _Packed:
    """A layer's quantised weights: two values a byte, and a scale a block, in fp32."""

    packed: Tensor
    scales: Tensor
    block: int
    kind: str
    codes: Tensor  # (16,) fp32, what 4 bits stand for

    @classmethod
    def of(cls, layer: Linear4bit, scratch: Scratch) -> _Packed:
        from bitsandbytes.functional import dequantize_blockwise

        state = getattr(layer.weight, "quant_state", None)
        if state is None:
            raise ConfigError("a linear layer is not quantised yet: move the model to its device first")
        if getattr(state, "packing_format_for_cpu", False):
            raise ConfigError("bitsandbytes repacked a layer for this CPU's instructions: run it as the module it is")
        if layer.weight.device != scratch.buffer.device:
            raise ConfigError(f"a layer is on {layer.weight.device}, the scratch on {scratch.buffer.device}")
        scales = state.absmax
        if state.nested:
            scales = dequantize_blockwise(scales, state.state2) + state.offset
        packed = layer.weight.detach().view(torch.uint8).flatten()
        return cls(packed, scales.float(), state.blocksize, state.quant_type, state.code.float())


def fastest(ways: Mapping[str, Callable[[], object]], device: torch.device) -> str:
    """Name of the quickest: each is run once before it is timed, and timed as a CUDA graph on a GPU."""
    seconds = {name: _seconds(way, device) for name, way in ways.items()}
    return min(seconds, key=lambda name: seconds[name])


def _seconds(way: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        way()
        return statistics.median(_clocked(way) for _ in range(REPEATS))
    # As a graph, because a decode step is one: launches one by one would cost more than the kernels.
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        way()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        way()
    graph.replay()
    times = []
    for _ in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return statistics.median(times)


def _clocked(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def _cache_size(device: torch.device) -> int:
    """Bytes of L2 cache."""
    return torch.cuda.get_device_properties(device).L2_cache_size
