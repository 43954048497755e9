"""Even gradient descent is differentiable: its learning rate, learnt by gradient descent through the whole descent.

Inner descent, noisy as with small batches, in a valley f(w) = sum over i of a_i w_i^2 / 2:

w_0 = (1, 1),    w_{t+1} = w_t - r (grad f(w_t) + noise),    cost f(w_T)

The outer gradient d E[f(w_T)] / d log r runs backward through all T steps (Maclaurin et al. 2015). Each step samples
its outcome, Normal(w_t - r grad f(w_t), r noise), so that it can be differentiated along its path or scored. For this
valley the expectation is known:

E[w_T,i^2] = m^2T + (r noise)^2 (1 + m^2 + ... + m^2(T-1)),    m = 1 - r a_i
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Normal

from framework import Context, Image, Task
from framework.config.types import NonNegative
from framework.curve import Curve
from framework.task import Split
from plugins.teaching.plot import descents

# a_i; a rate above 2 / 8 diverges across the valley.
CURVATURES = (1.0, 8.0)

Rate = Annotated[float, Field(gt=0, lt=1)]
Steps = Annotated[int, Field(ge=1, le=200)]


class LearningRate(nn.Module):
    """The logarithm of the inner descent's learning rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.log_rate = nn.Parameter(torch.tensor(math.log(rate)))

    @property
    def rate(self) -> float:
        return self.log_rate.exp().item()


class MetaGradient(Task):
    """Learn the learning rate of a noisy descent by differentiating the descent."""

    model: LearningRate
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "objective": "expected height after the inner descent, in closed form",
        "rate": "the learning rate of the inner descent",
        "best_objective": "the lowest expected height",
        "best_rate": "the learning rate that reaches it",
    }

    def __init__(self, *, steps: Steps = 10, noise: NonNegative = 0.5, start: Rate = 0.02) -> None:
        self.model = LearningRate(start)
        self.steps = steps
        self.noise = noise
        # The rate before each step.
        self.path = Curve[float]()

    def objective(self, context: Context, batch: Any) -> None:
        """The valley's height after the inner descent, `[n]`, or a scalar where it has no noise."""
        rate = self.model.log_rate.exp()
        weights = torch.ones(len(CURVATURES), device=rate.device)
        for step in range(self.steps):
            weights = weights - rate * slope(weights)
            if self.noise:
                outcome = Normal(weights, (rate * self.noise).expand_as(weights))
                weights = context.sample(f"step/{step}", outcome, per_sample=step > 0)
        context.cost(height(weights))

    def before_step(self, step: int) -> None:
        """Record the rate, for the picture."""
        self.path.add(self.model.rate)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """The learning rate and its exact expected height, and the best rate and its height."""
        best = self.best_rate()
        return {
            "objective": self.expected_height(self.model.rate),
            "rate": self.model.rate,
            "best_objective": self.expected_height(best),
            "best_rate": best,
        }

    def expected_height(self, rate: float) -> float:
        """The objective in closed form."""
        total = 0.0
        for curvature in CURVATURES:
            square = (1 - rate * curvature) ** 2
            stirred = sum(square**step for step in range(self.steps))
            total += 0.5 * curvature * (square**self.steps + (rate * self.noise) ** 2 * stirred)
        return total

    def best_rate(self) -> float:
        """The rate of least expected height, on a grid of step 0.0001."""
        return min((i / 10_000 for i in range(1, 2_500)), key=self.expected_height)

    def show(self, seed: int) -> Iterator[Image]:
        """Inner descents at the rates of some steps, and the expected height over the rate."""
        rates = [*self.path.values, self.model.rate]
        chosen = [rates[0], rates[len(rates) // 8], rates[-1]]
        walks = [self.walk(rate) for rate in chosen]
        grid = [0.005 * 1.04**i for i in range(101) if 0.005 * 1.04**i < 0.25]
        heights = [self.expected_height(rate) for rate in grid]
        reached = [self.expected_height(rate) for rate in rates]
        figure = descents(CURVATURES, chosen, walks, (grid, heights), (rates, reached))
        yield Image.from_figure("descents", figure)

    def walk(self, rate: float) -> list[list[float]]:
        """The inner descent's points at a rate, its noise from torch's default generator."""
        points = [torch.ones(len(CURVATURES))]
        for _ in range(self.steps):
            noise = self.noise * torch.randn(len(CURVATURES))
            points.append(points[-1] - rate * (slope(points[-1]) + noise))
        return [point.tolist() for point in points]

    def state_dict(self) -> dict[str, Any]:
        return {"path": self.path.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.path.load_state_dict(state["path"])


def height(weights: Tensor) -> Tensor:
    """f(w) of points `[..., 2]`."""
    return 0.5 * (torch.tensor(CURVATURES, device=weights.device) * weights**2).sum(-1)


def slope(weights: Tensor) -> Tensor:
    """grad f(w) of points `[..., 2]`, by autograd, and itself differentiable."""

    def total(weights: Tensor) -> Tensor:
        return height(weights).sum()

    gradient: Tensor = torch.func.grad(total)(weights)
    return gradient
