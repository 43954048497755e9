"""torch's optimisers without torch's compiler, which they import with their first call: seconds of every start."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=Optimizer)

# What torch decorates so that its compiler, once imported, leaves it alone.
DECORATED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def eager(kind: type[Kind]) -> type[Kind]:
    """The same optimiser, bit for bit, its methods called as they are written rather than by way of the compiler.

    Its steps are not to be compiled; a compiled model is unaffected.
    """
    written: Callable[..., Any] = inspect.unwrap(kind.step)

    def step(self: Kind, closure: Callable[[], Any] | None = None) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return written(self, closure)

    methods = {name: inspect.unwrap(getattr(kind, name)) for name in DECORATED}
    return type(kind.__name__, (kind,), {"step": step, **methods})


def step_unless(optimizer: Optimizer, wrong: Tensor) -> None:
    """One step of a fused optimiser, which changes neither parameters nor its own state where `wrong` is true.

    The device decides, as for `torch.amp.GradScaler`: nothing is read from it.
    """
    fused: Any = optimizer
    fused.grad_scale, fused.found_inf = None, wrong.float()
    try:
        fused.step()
    finally:
        del fused.grad_scale, fused.found_inf
