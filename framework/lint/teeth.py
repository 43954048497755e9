"""The teeth of a saw: the pieces on which a function such as `remainder` is continuous, by number.

    x mod m = x - m k        k = floor(x / m), of `fmod` k = trunc(x / m): the tooth's number

The result jumps where k changes, and what is computed from it need not: the square of a wrapped angle has a kink there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Functions of a number and a period, by name without underscores; the second group takes the period first.
PERIODIC = frozenset(["remainder", "mod", "imod", "fmod"])
TURNED = frozenset(["rmod"])


def has_teeth(name: str) -> bool:
    """Whether the teeth of a function can be counted."""
    return name.strip("_") in PERIODIC | TURNED | {"frac"}


def number_and_period(name: str, args: Any, kwargs: Any) -> tuple[Tensor, Any]:
    """x and m of a call, kept from what the call may change in place."""
    plain = name.strip("_")
    given = [*args, *(value for key, value in kwargs.items() if key != "out")]
    x, period = (given[0], 1.0) if plain == "frac" else given[:2]
    if plain in TURNED:
        x, period = period, x
    return torch.as_tensor(x).detach().clone(), period.detach() if isinstance(
        period, Tensor
    ) else period


def teeth(number: Tensor, period: Any, result: Tensor) -> Tensor:
    """k of every element."""
    numbers: Tensor = (number - result.detach()) / period
    return numbers.round()
