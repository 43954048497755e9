"""A program's own noise, such as `torch.randn(n)`: recognised, and moved when a run is looked at again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from framework.lint.calls import name_of, own_line
from framework.randomness import key, seeded

# Functions whose results are continuous random values, by name without underscores.
NOISE = frozenset(
    [
        *("rand", "randn", "rand_like", "randn_like"),
        *("normal", "uniform", "exponential", "cauchy", "log_normal"),
    ]
)


@contextmanager
def other_noise(seed: int, generator: torch.Generator | None) -> Iterator[None]:
    """Draw from the stream `seed` inside the block, by torch's default generators or the one given."""
    if generator is None:
        with seeded(seed):
            yield
        return
    state = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)


def is_noise(name: str) -> bool:
    return name.strip("_") in NOISE


class MovedNoise(TorchFunctionMode):
    """Moves the program's own noise from what it is towards other noise.

    Args:
        place: where on the way each sample is, `[n]`, from 0 to 1; noise without the sample axis stays as it is.
        seed: of the other noise.

    Attributes:
        left: whether any noise stayed as it is, so that nothing can be said of where it would have led.
    """

    def __init__(self, place: Tensor, seed: int) -> None:
        super().__init__()
        self.place, self.seed = place, seed
        self.count = 0
        self.left = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        value = function(*args, **kwargs)
        if not (is_noise(name_of(function)) and isinstance(value, Tensor) and own_line()):
            return value
        n = len(self.place)
        if value.shape[:1] != (n,) and n > 1:
            self.left = True
            return value
        self.count += 1
        start = value.clone()
        with other_noise(key(self.seed, "lint", self.count), kwargs.get("generator")):
            other = function(*args, **kwargs)
        place = self.place.to(start)
        place = place.reshape(-1, *[1] * (start.dim() - 1)) if start.dim() else place[0]
        moved = start + place * (other - start)
        in_place = name_of(function).endswith("_") or "out" in kwargs
        return value.copy_(moved) if in_place else moved
