"""The score function: grad E[f(x)] = E[(f(x) - b) grad log p(x)], for any draw and any cost, a black box included.

(Williams 1992; leave-one-out baseline: Kool et al. 2019; graphs of draws and costs: Schulman et al. 2015.) Without a
baseline the estimate is unbiased but too noisy for practice; the baselines here never bias it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import Capabilities
from framework.config.types import Count, FractionBelowOne, Positive
from framework.gradients.distributions.boundary import refuse_boundary
from framework.gradients.estimator import SurrogateEstimator
from framework.gradients.surrogate.baselines import LeaveOneOut, MovingAverage
from framework.gradients.surrogate.learned_baseline import LearnedBaseline
from framework.gradients.surrogate.sampled import SampledSurrogate
from framework.recording.sampling import sampled


class ScoreFunction:
    """Draw and cut the gradient: the log-probability carries it."""

    name = "score_function"
    scored = True
    biased = False
    relaxed = False

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        refuse_boundary(self.name, site, distribution)
        return sampled(distribution, shape)


def names_exact(rule: str | Mapping[str, Any]) -> bool:
    """Whether a rule of `estimator.sites` is to sum over its draws."""
    return rule == "exact" or (isinstance(rule, Mapping) and rule.get("name") == "exact")


@Capabilities(
    draws=("any",),
    evaluations="n",
    recorded_actions=True,
    multi_sample_bounds="served",
    higher_derivatives=True,
    divided_model=True,
)
def reinforce(
    *,
    samples: Count = 64,
    baseline: Literal["none", "moving_average", "learned"] = "moving_average",
    baseline_decay: FractionBelowOne = 0.9,
    hidden: Count = 32,
    learning_rate: Positive = 1e-2,
    sites: Mapping[str, Any] = {},
) -> SampledSurrogate:
    """REINFORCE averaged over many samples or episodes; baseline: a moving average, a learned network, or none."""
    chosen: MovingAverage | LearnedBaseline | None = None
    if baseline == "moving_average":
        chosen = MovingAverage(baseline_decay)
    elif baseline == "learned":
        chosen = LearnedBaseline(hidden, learning_rate)
    return SampledSurrogate(ScoreFunction(), samples, sites, chosen)


@Capabilities(
    draws=("any",),
    evaluations="n, at least 2",
    recorded_actions=True,
    multi_sample_bounds="served",
    higher_derivatives=True,
    automatic=True,
    divided_model=True,
)
def rloo(*, samples: Count = 64, sites: Mapping[str, Any] = {}) -> SurrogateEstimator:
    """REINFORCE where each sample's baseline is the mean of the others (leave-one-out); vimco is the same estimator.

    Draws that follow the rule "exact" in `sites` are summed over, all joint values of them in each sample.
    """
    if any(map(names_exact, sites.values())):
        # Which imports this module.
        from framework.gradients.enumeration.some_draws import SomeExact

        return SomeExact(ScoreFunction(), samples, sites)
    return SampledSurrogate(ScoreFunction(), samples, sites, LeaveOneOut())


@Capabilities(
    draws=("any",),
    evaluations="n, at least 2",
    recorded_actions=True,
    multi_sample_bounds="speciality",
    higher_derivatives=True,
    divided_model=True,
)
def vimco(*, samples: Count = 64, sites: Mapping[str, Any] = {}) -> SurrogateEstimator:
    """rloo by the name that it has in the literature on multi-sample bounds (`context.bound`): one estimator."""
    return rloo(samples=samples, sites=sites)
