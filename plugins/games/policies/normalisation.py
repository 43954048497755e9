"""Running statistics of observations and returns: part of the model, so saved with it, and frozen in evaluation.

What `update` adds counts from the next `commit` on, and the task commits only between rollouts: within a rollout, and
in every optimiser step that learns from it, all observations are normalised by the same statistics. Those of several
processes that train together are the same: what each has added since is brought together by `merge`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from framework import ranks, waiting

# Standard deviations; what lies beyond is clipped.
LARGEST = 10.0


class Moments(NamedTuple):
    """Of some values: how many they are, their mean, and the sum of squared differences from it."""

    number: Tensor
    mean: Tensor
    square: Tensor


def together(a: Moments, b: Moments) -> Moments:
    """The moments of two sets as one (Chan et al. 1979)."""
    number = a.number + b.number
    # Of none, all is 0.
    total = number.clamp(min=1)
    shift = b.mean - a.mean
    square = b.square + shift.square() * a.number * b.number / total
    return Moments(number, a.mean + shift * b.number / total, a.square + square)


def moments(values: Tensor, valid: Tensor) -> Moments | None:
    """The moments of those of `values [*B, *shape]` that are `valid`, `[*B]`; None where none is known to be.

    To select them would be to wait for an accelerator: there, the others weigh 0.
    """
    if waiting.queues(values.device):
        over = tuple(range(valid.dim()))
        weight = valid.double().reshape(*valid.shape, *[1] * (values.dim() - valid.dim()))
        number = valid.sum().double()
        least = number.clamp(min=1)
        mean = (values.double() * weight).sum(over) / least
        return Moments(number, mean, ((values - mean).square() * weight).sum(over))
    values = values[valid].double()
    if len(values) == 0:
        # The mean of nothing is NaN.
        return None
    count = torch.tensor(float(len(values)), dtype=torch.float64, device=values.device)
    mean = values.mean(0)
    return Moments(count, mean, (values - mean).square().sum(0))


class Normaliser(nn.Module):
    """(x - mean) / deviation, by statistics of all committed observations."""

    mean: Tensor
    deviation: Tensor
    count: Tensor
    running_mean: Tensor
    running_square: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(*shape))
        self.register_buffer("deviation", torch.ones(*shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("running_mean", torch.zeros(*shape, dtype=torch.float64))
        self.register_buffer("running_square", torch.zeros(*shape, dtype=torch.float64))
        # Of several processes: the moments of what this one has seen since they last met.
        self.own: Moments | None = None

    def forward(self, values: Tensor) -> Tensor:
        return ((values.float() - self.mean) / self.deviation).clamp(-LARGEST, LARGEST)

    @torch.no_grad()
    def update(self, values: Tensor, valid: Tensor) -> None:
        """Add values `[*B, *shape]` to the statistics, those that are `valid`, `[*B]`."""
        added = moments(values, valid)
        if added is None:
            return
        if ranks.size() > 1:
            self.own = added if self.own is None else together(self.own, added)
        else:
            self.add(added)

    @torch.no_grad()
    def merge(self) -> None:
        """Add what each of several processes has seen since the last time to the statistics of all."""
        if ranks.size() == 1:
            return
        none = torch.zeros_like(self.count)
        own = self.own or Moments(none, torch.zeros_like(self.running_mean), none)
        self.own = None
        sums = ranks.summed(torch.cat([own.number.view(1), (own.number * own.mean).flatten()]))
        if sums[0] > 0:
            mean = (sums[1:] / sums[0]).view_as(self.running_mean)
            square = ranks.summed(own.square + own.number * (own.mean - mean).square())
            self.add(Moments(sums[0], mean, square))

    def add(self, added: Moments) -> None:
        found = together(Moments(self.count, self.running_mean, self.running_square), added)
        self.running_square.copy_(found.square)
        self.running_mean.copy_(found.mean)
        self.count.copy_(found.number)

    @torch.no_grad()
    def commit(self) -> None:
        """Normalise by all that was added so far."""
        variance = self.running_square / self.count.clamp(min=1)
        known = self.count > 1
        self.mean.copy_(torch.where(known, self.running_mean, 0.0))
        self.deviation.copy_(torch.where(known, (variance + 1e-8).sqrt(), 1.0))


class NamedNormalisers(nn.Module):
    """A normaliser for each of some observations by name; the others are left as they are."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.each = nn.ModuleDict({name: Normaliser(shape) for name, shape in shapes.items()})

    def forward(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        normalised = {name: each(values[name]) for name, each in self.each.items()}
        return {**values, **normalised}

    def update(self, values: Mapping[str, Tensor], valid: Tensor) -> None:
        """Add values `[*B, ...]` to the statistics, those that are `valid`, `[*B]`."""
        for name, each in self.each.items():
            cast(Normaliser, each).update(values[name], valid)

    def merge(self) -> None:
        """Bring together what several processes have seen."""
        for each in self.each.values():
            cast(Normaliser, each).merge()

    def commit(self) -> None:
        """Normalise by all that was added so far."""
        for each in self.each.values():
            cast(Normaliser, each).commit()


class ReturnScale(nn.Module):
    """Rewards over the root mean square of discounted returns: predictions of about 1, whatever a game pays.

    The mean square is about zero and not about the mean: predictions are not shifted, and returns that are all alike
    are not blown up.
    """

    count: Tensor
    square: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("square", torch.zeros((), dtype=torch.float64))

    def forward(self, rewards: Tensor) -> Tensor:
        size = (self.square / self.count).sqrt()
        # No rewards so far.
        size = torch.where(size > 0, size, 1.0)
        return (rewards / size.to(rewards.dtype)).clamp(-LARGEST, LARGEST)

    @torch.no_grad()
    def update(self, returns: Tensor, valid: Tensor) -> None:
        """Add returns `[*B]` to the statistics, those that are `valid`, and those of all processes."""
        if waiting.queues(returns.device):
            square = torch.where(valid, returns.double(), 0.0).square().sum()
            number = valid.sum().double()
        else:
            square = returns[valid].double().square().sum()
            number = torch.full_like(square, int(valid.sum()))
        added = torch.stack([number, square])
        count, square = ranks.summed(added)
        self.count += count
        self.square += square
