"""Triton's kernels compiled for a GPU on a machine without one: its interpreter runs them and compiles nothing.

Inside `compiled_only` a launch compiles its kernel down to the machine code of an H100 or H200, and runs nothing: what
Triton's compiler or NVIDIA's assembler refuses is found here. It needs a process in which the interpreter was not chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

# Of an H100 or H200: compute capability 9.0, warps of 32 lanes.
HOPPER = GPUTarget("cuda", 90, 32)
KINDS = {
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.bool: "i1",
}


def kind_of(given: Any) -> str:
    """Of an argument as Triton's launcher names it."""
    if isinstance(given, Tensor):
        return f"*{KINDS[given.dtype]}"
    if isinstance(given, float):
        return "fp32"
    return "i32" if -(2**31) <= given < 2**31 else "i64"


def compiled(kernel: JITFunction, given: dict[str, Any]) -> Any:
    """A kernel's machine code for arguments by name."""
    # Triton compiles for a whole number that is 1 by itself.
    fixed = {
        p.name: given[p.name]
        for p in kernel.params
        if p.is_constexpr or (type(given[p.name]) is int and given[p.name] == 1)
    }
    signature = {
        name: "constexpr" if name in fixed else kind_of(given[name]) for name in kernel.arg_names
    }
    return triton.compile(ASTSource(kernel, signature, fixed), target=HOPPER)


@contextmanager
def compiled_only() -> Iterator[dict[str, int]]:
    """Inside the block kernels are compiled and not run; the bytes of each one's machine code, by its name."""
    sizes: dict[str, int] = {}
    run = JITFunction.run

    def compile_it(self: JITFunction, *args: Any, grid: Any, warmup: bool, **named: Any) -> None:
        given = dict(zip(self.arg_names, args, strict=False)) | named
        sizes[self.__name__] = len(compiled(self, given).asm["cubin"])

    JITFunction.run = compile_it
    try:
        yield sizes
    finally:
        JITFunction.run = run
