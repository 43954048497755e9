"""A program with a loop of random length and a branch, written as plain Python, whose optimum is known.

Fishing: cast until a fish bites, which it does with probability p; each cast costs 1/4 of an hour and p^2 of bait.

E = E[casts] (1/4 + p^2) = (1/4 + p^2) / p,    least at p = 1/2: 1

Cooking: two friends cook with probability q each and cannot agree; both: one meal is wasted; neither: two go hungry.

E = q^2 + 2 (1 - q)^2,    least at q = 2/3: 2/3

Neither `while` nor `if` has a derivative. The score function needs none: it uses the probability of the path taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.distributions import Bernoulli

from framework import Context, Image, Task
from framework.curve import Curve
from framework.task import Split
from plugins.teaching.plot import two_paths

# Of each cast, in hours.
CAST = 0.25
BEST_BITE, BEST_COOK = 0.5, 2 / 3
BEST = 1 + 2 / 3

Probability = Annotated[float, Field(gt=0, lt=1)]


class Habits(nn.Module):
    """How well the hook is baited and how often one cooks, as logits."""

    def __init__(self, bite: float, cook: float) -> None:
        super().__init__()
        self.bite = nn.Parameter(torch.tensor(math.log(bite / (1 - bite))))
        self.cook = nn.Parameter(torch.tensor(math.log(cook / (1 - cook))))

    @property
    def probabilities(self) -> tuple[float, float]:
        return self.bite.sigmoid().item(), self.cook.sigmoid().item()


class BranchAndLoop(Task):
    """Fish until one bites, then branch on who cooks: the best habits are 1/2 and 2/3."""

    model: Habits
    one_sample_at_a_time: ClassVar[bool] = True
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "objective": "the objective in closed form",
        "bite": "the probability p; best 1/2",
        "cook": "the probability q; best 2/3",
    }

    def __init__(self, *, bite: Probability = 0.2, cook: Probability = 0.2) -> None:
        self.model = Habits(bite, cook)
        # (p, q) before each step.
        self.path = Curve[tuple[float, float]](2)

    def objective(self, context: Context, batch: Any) -> None:
        """Hours and bait until a fish bites, and meals wasted or missed."""
        casts, bitten = 0, False
        while not bitten:
            casts += 1
            bait = self.model.bite.sigmoid() ** 2
            context.cost(CAST + bait, "cast")
            bitten = bool(context.sample(f"bite/{casts}", Bernoulli(logits=self.model.bite)).item())
        first, second = (
            context.sample(f"cook/{friend}", Bernoulli(logits=self.model.cook)).item()
            for friend in ("first", "second")
        )
        if first and second:
            context.cost(1.0, "meals")
        elif not first and not second:
            context.cost(2.0, "meals")

    def before_step(self, step: int) -> None:
        """Record the habits, for the picture."""
        self.path.add(self.model.probabilities)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """The habits and their exact objective."""
        p, q = self.model.probabilities
        return {"objective": expected_cost(p, q), "bite": p, "cook": q}

    def show(self, seed: int) -> Iterator[Image]:
        """Both habits over the steps."""
        steps = [*self.path.steps, self.path.count]
        path = [*self.path.values, self.model.probabilities]
        yield Image.from_figure("habits", two_paths(steps, path, (BEST_BITE, BEST_COOK)))

    def state_dict(self) -> dict[str, Any]:
        return {"path": self.path.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.path.load_state_dict(state["path"])


def expected_cost(bite: float, cook: float) -> float:
    """The objective in closed form."""
    return (CAST + bite**2) / bite + cook**2 + 2 * (1 - cook) ** 2
