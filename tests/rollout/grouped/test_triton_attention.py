from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from qwen_lightning.errors import ConfigError
from tests.rollout.grouped.ahead_of_time import SHARED_MEMORY, resources

pytest.importorskip("triton", reason="torch for this platform comes without Triton")


@dataclass(frozen=True)
class Case:
    """A decode step: groups' sizes and prompt lengths, idle rows, heads, and how many tokens were decoded before."""

    sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    idle: int = 0
    heads: int = 4
    key_heads: int = 2
    size: int = 16
    decoded: int = 0
    room: int = 1
    dtype: torch.dtype = torch.float32

    def tensors(self, device: str = "cpu") -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        rows, groups = sum(self.sizes) + self.idle, len(self.sizes)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(self.dtype)

        prompts = [random(groups, self.key_heads, 260, self.size) for _ in range(2)]
        # One row more than the step has: a batch that was compacted keeps its buffers.
        own = [random(rows + 1, self.key_heads, self.room, self.size) for _ in range(2)]
        for tensor in prompts:  # what lies beyond must never be read into a result
            for group, length in enumerate(self.lengths):
                tensor[group, :, length:] = torch.nan
        for tensor in own:
            tensor[:, :, self.decoded + 1 :] = torch.nan
            tensor[sum(self.sizes) :] = torch.nan
        # Queries are a view of a larger product, as behind one matrix product for queries, keys and values.
        query = random(rows, self.heads + 2 * self.key_heads, self.size)[:, : self.heads]
        starts = torch.tensor((0, *self.sizes)).cumsum(0).int()
        tensors = [query, *prompts, torch.tensor(self.lengths).int(), *own, torch.tensor([self.decoded]).int(), starts]
        return [tensor.to(device) for tensor in tensors]

    def expected(self) -> Tensor:
        """In fp64, row for row; zeros for idle rows."""
        query, prompt_keys, prompt_values, lengths, keys, values, decoded, starts = self.tensors()
        output = torch.zeros(query.shape, dtype=torch.float64)
        for group, length in enumerate(lengths):
            for row in range(int(starts[group]), int(starts[group + 1])):
                seen = [
                    torch.cat([prompt[group, :, :length], own[row, :, : decoded + 1]], 1)
                    .double()
                    .repeat_interleave(self.heads // self.key_heads, 0)
                    for prompt, own in ((prompt_keys, keys), (prompt_values, values))
                ]
                scores = torch.einsum("hd,htd->ht", query[row].double(), seen[0]) * self.size**-0.5
                output[row] = torch.einsum("ht,htd->hd", scores.softmax(-1), seen[1])
        return output


CASES = {
    "ragged groups, one empty, idle rows": Case((3, 0, 1, 5), (260, 7, 1, 65), idle=2, decoded=4, room=8),
    "one row, one token each": Case((1,), (1,), heads=2, size=128),
    "full room": Case((2, 1), (100, 130), decoded=69, room=70, size=64),
    "no grouped queries": Case((2, 3), (40, 260), heads=2, decoded=1, room=2),
    "ratio 4": Case((1, 2), (9, 33), heads=8, decoded=2, room=4, size=32),
    "ratio 8, more queries than a tile": Case((1, 12), (7, 200), heads=8, key_heads=1, decoded=40, room=41),
    "ratio 3": Case((2, 2), (17, 64), heads=6, decoded=3, room=4),
    "all idle": Case((0, 0), (3, 4), idle=2),
    "half precision": Case((4, 2), (260, 31), idle=1, size=64, decoded=33, room=64, dtype=torch.float16),
}
# The interpreter has no products in bfloat16.
DEVICE_CASES = CASES | {"bfloat16": Case((8, 5), (260, 100), 1, 32, 8, 128, 40, 64, torch.bfloat16)}
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def attended(case: Case, device: str = "cpu") -> Tensor:
    from qwen_lightning.rollout.grouped.triton_attention import grouped_attention

    return grouped_attention(*case.tensors(device), scale=case.size**-0.5).cpu()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_kernels_attend_as_plain_torch_does(interpreter, case):
    result = interpreter.submit(attended, case).result()
    assert result.dtype == case.dtype
    torch.testing.assert_close(result.double(), case.expected(), rtol=0, atol=TOLERANCES[case.dtype])


def refusal(broken: str) -> str:
    from qwen_lightning.rollout.grouped.triton_attention import grouped_attention

    tensors = Case((2, 1), (3, 4), size=24 if broken == "size" else 16).tensors()
    if broken == "heads":
        tensors[0] = tensors[0][:, :3]
    if broken == "starts":
        tensors[7] = tensors[7][:2]
    if broken == "strides":
        tensors[5] = tensors[5].clone().transpose(0, 1).contiguous().transpose(0, 1)
    if broken == "dtype":
        tensors[4] = tensors[4].half()
    with pytest.raises(ConfigError) as error:
        grouped_attention(*tensors, scale=1.0)
    return str(error.value)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("size", "head sizes 16, 32"),
        ("heads", "do not fit"),
        ("starts", "3 rows in 2 groups"),
        ("strides", "same strides"),
        ("dtype", "same dtype"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(interpreter, broken, said):
    assert said in interpreter.submit(refusal, broken).result()


@pytest.mark.parametrize("arch", [80, 89, 90])
def test_kernels_compile_without_spilling(arch, tmp_path, monkeypatch):
    """At Qwen3-8B's heads with groups of eight, ahead of time: no GPU is needed."""
    from qwen_lightning.rollout.grouped import triton_attention

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    types = dict.fromkeys(("query", "keys", "values", "output"), "*bf16") | dict.fromkeys(
        ("partial", "log_sums"), "*fp32"
    )
    types |= dict.fromkeys(("lengths", "starts", "decoded"), "*i32") | {"scale": "fp32", "groups": "odd"}
    shape = {"HEADS": 32, "REPEAT": 4, "SIZE": 128, "TOKEN": 128, "SPLITS": 4}
    shape["BLOCK"] = triton_attention.BLOCK_BYTES // (shape["SIZE"] * torch.bfloat16.itemsize)
    options = {"num_warps": triton_attention.WARPS, "num_stages": triton_attention.STAGES}
    for kernel, queries in ((triton_attention.prompt_kernel, 32), (triton_attention.own_kernel, 16)):
        taken = resources(kernel, types, shape | {"QUERIES": queries}, arch, **options)
        assert taken.registers <= 170  # three programs of 128 threads share 65,536
        assert taken.stack == 0
        assert taken.shared <= SHARED_MEMORY[arch]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; the interpreter runs the same cases")
@pytest.mark.parametrize("case", DEVICE_CASES.values(), ids=DEVICE_CASES.keys())
def test_kernels_attend_on_the_device(case):
    result = attended(case, "cuda")
    torch.testing.assert_close(result.double(), case.expected(), rtol=0, atol=TOLERANCES[case.dtype])


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; a graph is a thin shell around the call"
)
def test_one_graph_serves_all_lengths():
    from qwen_lightning.rollout.grouped.triton_attention import grouped_attention

    late = Case((3, 5), (100, 33), decoded=6, room=8)
    static = Case((3, 5), (260, 1), decoded=0, room=8).tensors("cuda")
    grouped_attention(*static, scale=0.25)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = grouped_attention(*static, scale=0.25)
    for tensor, value in zip(static, late.tensors("cuda"), strict=True):
        tensor.copy_(value)
    graph.replay()
    torch.testing.assert_close(output.cpu().double(), late.expected(), rtol=0, atol=1e-5)
