"""One coin, the toy of REBAR: minimise E[(b - t)^2] over the probability p of b = 1, for t just below 1/2.

E = p (1 - t)^2 + (1 - p) t^2,    dE/dl = p (1 - p) (1 - 2 t),    p = 1 / (1 + exp(-l))

The best p is 0 and the worst 1, yet at t = 0.499 the two differ by 0.002: the gradient is hundreds of times smaller
than the noise of one sample, so that high-variance estimators wander and biased ones drift away. (Tucker et al. 2017.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.distributions import Bernoulli

from framework import Context, Image, Task
from framework.curve import Curve
from framework.task import Split
from plugins.teaching.plot import probability_over_steps

Probability = Annotated[float, Field(gt=0, lt=1)]


class Coin(nn.Module):
    """One parameter: the logit of the probability of 1."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.logit(torch.tensor([probability])))

    @property
    def probability(self) -> float:
        return self.logit.sigmoid().item()


class RebarToy(Task):
    """Teach a coin to show 0, from a cost that hardly prefers it: (b - 0.499)^2."""

    model: Coin
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "objective": "the objective in closed form",
        "probability": "the probability of drawing 1",
    }

    def __init__(self, *, target: Probability = 0.499, start: Probability = 0.5) -> None:
        self.model = Coin(start)
        self.target = target
        # p before each step.
        self.path = Curve[float]()

    def objective(self, context: Context, batch: Any) -> None:
        """The squared distance of the coin `[n, 1]` from the target."""
        coin = context.sample("coin", Bernoulli(logits=self.model.logit))
        context.cost((coin - self.target) ** 2)

    def before_step(self, step: int) -> None:
        """Record p, for the picture."""
        self.path.add(self.model.probability)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """p and its exact objective."""
        p, t = self.model.probability, self.target
        return {"objective": p * (1 - t) ** 2 + (1 - p) * t**2, "probability": p}

    def show(self, seed: int) -> Iterator[Image]:
        """p over the steps."""
        best = 0.0 if self.target < 0.5 else 1.0
        steps, path = (
            [*self.path.steps, self.path.count],
            [*self.path.values, self.model.probability],
        )
        figure = probability_over_steps({"this run": (steps, path)}, best)
        yield Image.from_figure("probability", figure)

    def state_dict(self) -> dict[str, Any]:
        return {"path": self.path.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.path.load_state_dict(state["path"])
