"""The score function: grad E[f(x)] = E[(f(x) - b) grad log p(x)], for any draw and any cost, a black box included.

(Williams 1992; leave-one-out baseline: Kool et al. 2019; graphs of draws and costs: Schulman et al. 2015.) Without a
baseline the estimate is unbiased but useless in practice; the choices here never bias it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import Capabilities
from framework.gradients.surrogate.baselines import LeaveOneOut, MovingAverage
from framework.gradients.surrogate.learned_baseline import Learned
from framework.gradients.surrogate.sampled import Mixed

Samples = Annotated[int, Field(ge=1)]


class ScoreFunction:
    """Draw, cut the gradient, and let the log-probability carry the blame."""

    name = "score_function"
    scored = True
    biased = False
    relaxed = False

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        return distribution.sample(shape)


@Capabilities(
    draws=("any",),
    evaluations="n",
    recorded_actions=True,
    multi_sample_bounds="served",
    higher_derivatives=True,
)
def reinforce(
    *,
    samples: Samples = 16,
    baseline: Literal["none", "moving_average", "learned"] = "moving_average",
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9,
    hidden: Annotated[int, Field(ge=1)] = 32,
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2,
    sites: dict[str, Any] | None = None,
) -> Mixed:
    """REINFORCE averaged over many samples or episodes; baseline: a moving average, a learned network, or none."""
    chosen: MovingAverage | Learned | None = None
    if baseline == "moving_average":
        chosen = MovingAverage(decay)
    elif baseline == "learned":
        chosen = Learned(hidden, learning_rate)
    return Mixed(ScoreFunction(), samples, sites, chosen)


@Capabilities(
    draws=("any",),
    evaluations="n, at least 2",
    recorded_actions=True,
    multi_sample_bounds="served",
    higher_derivatives=True,
    automatic=True,
)
def rloo(*, samples: Samples = 16, sites: dict[str, Any] | None = None) -> Mixed:
    """REINFORCE where each sample's baseline is the mean of the others (leave-one-out)."""
    return Mixed(ScoreFunction(), samples, sites, LeaveOneOut())


@Capabilities(
    draws=("any",),
    evaluations="n, at least 2",
    recorded_actions=True,
    multi_sample_bounds="speciality",
    higher_derivatives=True,
)
def vimco(*, samples: Samples = 16, sites: dict[str, Any] | None = None) -> Mixed:
    """Leave-one-out for multi-sample bounds (`context.bound`); elsewhere the same as rloo."""
    return rloo(samples=samples, sites=sites)
