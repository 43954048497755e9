"""Tasks that each break one promise, for `diffobj check` to find."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.distributions import Normal

from framework import Context, Program, Task


class Point(nn.Module):
    """One number to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(0.5))


class Sound(Task):
    """The square of a noisy point: nothing is wrong with it."""

    model: Point

    def __init__(self) -> None:
        self.model = Point()

    def objective(self, context: Context, batch: Any) -> None:
        context.cost(context.sample("shot", Normal(self.model.value, 0.1)).square())


class Detached(Sound):
    """Half of its objective lost its gradient."""

    def objective(self, context: Context, batch: Any) -> None:
        super().objective(context, batch)
        context.cost(3 * self.model.value.detach())


class Unkeyed(Sound):
    """Draws from Python's own generator, which no seed of a run reaches."""

    def objective(self, context: Context, batch: Any) -> None:
        super().objective(context, batch)
        context.cost(random.random() * self.model.value)


class Forgetful(Sound):
    """Remembers how many batches there were, and does not save it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def batches(self, program: Program, seed: int, start: int) -> Iterator[None]:
        while True:
            self.count += 1
            yield None

    def objective(self, context: Context, batch: Any) -> None:
        super().objective(context, batch)
        context.cost((1.0 if self.count <= 2 else 2.0) * self.model.value)


class Infinite(Sound):
    """Its objective is infinite."""

    def objective(self, context: Context, batch: Any) -> None:
        super().objective(context, batch)
        context.cost(self.model.value / 0)


class Headless(Sound):
    """Its primary metric is none of its metrics."""

    primary_metric = "accuracy"


class Still(Sound):
    """Its cost does not depend on the model."""

    def objective(self, context: Context, batch: Any) -> None:
        context.cost(context.sample("shot", Normal(torch.zeros(()), 0.1 + 0 * self.model.value)))


class Early(Sound):
    """Charges its cost before it draws."""

    def objective(self, context: Context, batch: Any) -> None:
        context.cost(torch.ones(()))
        context.sample("shot", Normal(self.model.value, 0.1))


class Averaged(Sound):
    """Takes the mean over the samples itself."""

    def objective(self, context: Context, batch: Any) -> None:
        context.cost(context.sample("shot", Normal(self.model.value, 0.1)).square().mean())


class Lost(Sound):
    """Turns its parameter into a number."""

    def objective(self, context: Context, batch: Any) -> None:
        context.cost(context.sample("shot", Normal(self.model.value.item(), 0.1)).square())


class Raising(Sound):
    """Divides by zero."""

    def objective(self, context: Context, batch: Any) -> None:
        context.cost(context.sample("shot", Normal(self.model.value, 0.1)) * (1 // 0))
