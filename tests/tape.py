"""A CUDA graph of the CPU's: operations recorded with the very tensors that they read and write, and done again.

What is done again is what torch did, not what Python did: as on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Records operations while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Do all of it again, into the same tensors."""
        with torch.no_grad():
            for func, args, kwargs, result in self.operations:
                views = any(
                    r.alias_info and not r.alias_info.is_write for r in func._schema.returns
                )
                if views:
                    continue
                again = func(*args, **kwargs)
                if not func._schema.is_mutable:
                    for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                        if isinstance(old, Tensor):
                            old.copy_(new)


def record(function: Callable[[], Any], statics: Sequence[Tensor]) -> Tape:
    """Record a function that changes `statics`; afterwards they and the generator are as before, as on a GPU."""
    before, state = [tensor.clone() for tensor in statics], torch.get_rng_state()
    tape = Tape()
    with tape:
        function()
    for tensor, kept in zip(statics, before, strict=True):
        tensor.copy_(kept)
    torch.set_rng_state(state)
    return tape
