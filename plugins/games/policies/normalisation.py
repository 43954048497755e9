"""Running statistics of what is seen and earned: part of the model, so saved with it, and frozen in evaluation.

What is noted counts from the next `adopt` on, and the task adopts only between records: within a record, and in
every step that learns from it, all observations are seen through the same statistics.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LARGEST = 10.0  # standard deviations; what lies beyond is cut


class Normaliser(nn.Module):
    """(x - mean) / deviation by statistics of all that was noted."""

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

    def forward(self, values: Tensor) -> Tensor:
        return ((values.float() - self.mean) / self.deviation).clamp(-LARGEST, LARGEST)

    @torch.no_grad()
    def note(self, values: Tensor) -> None:
        """Add values `[B, *shape]` to the statistics (Chan et al. 1979)."""
        if len(values) == 0:
            return  # an empty mean is no number
        values = values.double()
        count = torch.tensor(float(len(values)), dtype=torch.float64, device=values.device)
        mean = values.mean(0)
        square = (values - mean).square().sum(0)
        total = self.count + count
        shift = mean - self.running_mean
        self.running_square += square + shift.square() * self.count * count / total
        self.running_mean += shift * count / total
        self.count.copy_(total)

    @torch.no_grad()
    def adopt(self) -> None:
        """Let all that was noted count from now on."""
        variance = self.running_square / self.count.clamp(min=1)
        known = self.count > 1
        self.mean.copy_(torch.where(known, self.running_mean, 0.0))
        self.deviation.copy_(torch.where(known, (variance + 1e-8).sqrt(), 1.0))


class ReturnScale(nn.Module):
    """Rewards over the root mean square of discounted returns: predictions of about 1, whatever a game pays.

    About zero and not about their mean: predictions are not shifted, and returns that are all alike are not blown up.
    """

    count: Tensor
    square: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("square", torch.zeros((), dtype=torch.float64))

    def forward(self, rewards: Tensor) -> Tensor:
        size = (self.square / self.count).sqrt()
        size = torch.where(size > 0, size, 1.0)  # nothing earned yet
        return (rewards / size.to(rewards.dtype)).clamp(-LARGEST, LARGEST)

    @torch.no_grad()
    def note(self, returns: Tensor) -> None:
        """Add returns `[B]` to the statistics."""
        self.count += len(returns)
        self.square += returns.double().square().sum()
