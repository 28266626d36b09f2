"""Kernels compiled for a GPU that need not be there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

SHARED_MEMORY = {80: 163 * 1024, 89: 99 * 1024, 90: 227 * 1024}  # a program's most, bytes by compute capability


class Resources(NamedTuple):
    """What a program takes: registers a thread, bytes of stack a thread (spilled ones lie there), shared bytes."""

    registers: int
    stack: int
    shared: int


def resources(kernel: Any, types: dict[str, str], constants: dict[str, int], arch: int, **options: int) -> Resources:
    """Compile for a compute capability, with pointers and all integers but `types`' "odd" ones aligned to 16."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kinds = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, kind in enumerate(kinds.values())
        if kind.startswith("*") or kind == "i32"
    }
    signature = {name: "i32" if kind == "odd" else kind for name, kind in kinds.items()}
    source = ASTSource(kernel, signature, constants, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    binary = Path(os.environ["TRITON_CACHE_DIR"]) / f"{kernel.__name__}.cubin"
    binary.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    usage = subprocess.run([tool, "--dump-resource-usage", binary], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    return Resources(int(found[1]), int(found[2]), compiled.metadata.shared)
