"""Whether a derivative flows through a value, backwards (autograd) or forwards (dual numbers)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def carries_gradient(value: Any) -> bool:
    """Whether a derivative flows through `value` here and now: not backwards where gradients are off."""
    if not isinstance(value, Tensor):
        return False
    return (value.requires_grad and torch.is_grad_enabled()) or has_tangent(value)


def has_derivative(value: Tensor) -> bool:
    """Whether a derivative flows into `value`, also where gradients are off just now, or from outside a vmap."""
    return any(layer.requires_grad or has_tangent(layer) for layer in layers(value))


def layers(value: Tensor) -> Iterator[Tensor]:
    """The tensor, and under `torch.func` and `torch.vmap` the tensors that it wraps."""
    yield value
    while torch._C._functorch.is_functorch_wrapped_tensor(value):
        value = torch._C._functorch.get_unwrapped(value)
        yield value


def has_tangent(value: Tensor) -> bool:
    """Whether `value` is a dual number."""
    return in_forward_mode() and forward_ad.unpack_dual(value).tangent is not None


def in_forward_mode() -> bool:
    return forward_ad._current_level >= 0
