"""Triton's kernels compiled for a GPU on a machine without one: its interpreter runs them and compiles nothing.

Inside `compiled_only` a launch compiles its kernel down to the machine code of an H100 or H200, and runs nothing: what
Triton's compiler or NVIDIA's assembler refuses is found here. It needs a process without the interpreter:

    TRITON_INTERPRET=0 python -m tests.compiled_kernels
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from framework.gradients.policy_gradient import scan_kernel
from framework.gradients.policy_gradient.advantages import Transitions
from plugins.games.environments.native import cart_pole_kernel
from plugins.games.environments.native.cart_pole import CartPole
from plugins.league.rules import boards_kernel
from plugins.league.rules.connect_four import ConnectFour
from plugins.league.rules.tic_tac_toe import TicTacToe
from plugins.sketching.raster.render import COMPOSITIONS, PROFILES, render

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
        name = f"{self.__module__.rpartition('.')[2]}.{self.__name__}"
        sizes[name] = len(compiled(self, given).asm["cubin"])

    JITFunction.run = compile_it
    try:
        yield sizes
    finally:
        JITFunction.run = run


def advantages() -> None:
    """The recurrence and what is made by it, of one step, of one game, and in double precision."""
    for shape, kind in (((3, 5), torch.float32), ((1, 1), torch.float32), ((3, 5), torch.float64)):
        numbers, flags = torch.zeros(shape, dtype=kind), torch.zeros(shape, dtype=torch.bool)
        steps = Transitions(numbers, numbers, numbers, flags, flags, flags)
        scan_kernel.backwards(numbers, numbers)
        scan_kernel.gae(steps, 0.9, 0.8)
        scan_kernel.upgo(steps, 0.9)
        scan_kernel.vtrace(steps, numbers, 0.9, 0.8, 1.0, 1.0)


def games() -> None:
    """Cart-poles and boards, under given moves and under their own."""
    for count, steps in ((5, 3), (1, 1)):
        for first in (None, torch.zeros(steps, 4, count)):
            carts = CartPole(count)
            carts.reset(0)
            cart_pole_kernel.play(carts, torch.zeros(steps, count, dtype=torch.long), first)
        for rules in (ConnectFour(count), TicTacToe(count)):
            for actions in (None, torch.zeros(steps, count, dtype=torch.long)):
                boards_kernel.play(rules, steps, actions)


def drawings(thorough: bool) -> None:
    """Soft lines of one ink, and every composition; `thorough`: with all that there may be together."""
    for strokes, vertices, size in ((3, 4, 40), (1, 1, 8)):
        points, colour = torch.rand(strokes, vertices, 2, requires_grad=True), torch.ones(3)
        taper = torch.ones(vertices)
        shapes: list[dict[str, Any]] = [{}, {"filled": True}, {"taper": taper}]
        colours: list[dict[str, Any]] = [{}, {"colour": colour}]
        hows: list[dict[str, Any]] = [
            {"composition": composition, "profile": profile, **coloured, **shape}
            for composition, profile, coloured, shape in product(
                COMPOSITIONS, PROFILES, colours, shapes
            )
            if vertices > 1 or "taper" not in shape
        ]
        for how in hows if thorough else hows[::7]:
            render(points, 1.0, size, backend="triton", **how).sum().backward()


if __name__ == "__main__":
    with compiled_only() as found:
        advantages()
        games()
        drawings(thorough="all" in sys.argv)
    print(json.dumps(found))
