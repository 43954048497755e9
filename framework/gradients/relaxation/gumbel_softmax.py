"""Gumbel-softmax: a discrete draw becomes a continuous one, and the cost is differentiated between the values.

Bernoulli    s((l + log u - log(1 - u)) / t)         one-hot categorical    softmax((l + g) / t),  g Gumbel noise

with logits l and temperature t. As t -> 0 the draw becomes the discrete one while the gradient's variance grows as
1 / t; a large t has little variance and much bias. The gradient is right for the relaxed program and biased for the
hard one, whose value is what is reported. (Concrete: Maddison et al. 2017; Gumbel-softmax: Jang et al. 2017.)

The program must be defined between the values: an index cannot relax, so draw a OneHotCategorical and mix with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    OneHotCategorical,
)

from framework.capabilities import Capabilities
from framework.config.types import Count, Positive
from framework.errors import ProgramError
from framework.gradients.distributions.boundary import refuse_boundary
from framework.gradients.distributions.implicit import draw, has_path
from framework.gradients.distributions.noise import gumbel_noise, logistic_noise
from framework.gradients.distributions.noise_families import base_of
from framework.gradients.distributions.refusal import others
from framework.gradients.surrogate.sampled import SampledSurrogate


class DiscretePath(ABC):
    """A differentiable path through Bernoulli and one-hot draws; draws that already have a path keep it."""

    name: str
    scored = False
    biased = True
    relaxed = False

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        base = base_of(distribution)
        refuse_boundary(self.name, site, distribution)
        if isinstance(base, Bernoulli):
            return self.bernoulli(site, base.logits.expand(*shape, *base.logits.shape))
        if isinstance(base, OneHotCategorical):
            return self.one_hot(site, base.logits.expand(*shape, *base.logits.shape))
        if has_path(distribution):
            return draw(self.name, site, distribution, shape)
        if isinstance(base, Categorical):
            raise ProgramError(
                f"draw '{site}' ~ Categorical is an index, and '{self.name}' needs values to differentiate: draw a "
                f"OneHotCategorical; {others(self.name, distribution, what='can serve it as it is')}"
            )
        raise ProgramError(
            f"draw '{site}' ~ {type(base).__name__}: '{self.name}' knows Bernoulli and OneHotCategorical; "
            f"{others(self.name, distribution)}"
        )

    @abstractmethod
    def bernoulli(self, site: str, logits: Tensor) -> Tensor:
        """A value with a path to the logits, of the same shape."""

    @abstractmethod
    def one_hot(self, site: str, logits: Tensor) -> Tensor:
        """A value `[..., K]` with a path to the normalised logits `[..., K]`."""


class Tempered(DiscretePath):
    """A path with a temperature that goes exponentially to its final value over some calls of the estimator."""

    def __init__(
        self,
        *,
        temperature: Positive = 0.5,
        final_temperature: Positive | None = None,
        anneal_steps: Count = 1000,
    ) -> None:
        self.start = self.temperature = temperature
        self.end = temperature if final_temperature is None else final_temperature
        self.steps = anneal_steps

    def begin(self, call: int) -> None:
        """Set the temperature of call number `call`."""
        self.temperature = self.start * (self.end / self.start) ** min(1.0, call / self.steps)


class GumbelSoftmax(Tempered):
    """Draw from the Concrete distribution: a value between the discrete ones."""

    name = "gumbel"
    relaxed = True

    def bernoulli(self, site: str, logits: Tensor) -> Tensor:
        return torch.sigmoid((logits + logistic_noise(logits)) / self.temperature)

    def one_hot(self, site: str, logits: Tensor) -> Tensor:
        return torch.softmax((logits + gumbel_noise(logits)) / self.temperature, -1)


@Capabilities(
    draws=("Bernoulli", "OneHotCategorical", "path"),
    evaluations="2n",
    costs="differentiable",
    multi_sample_bounds="served",
    higher_derivatives=True,
    relaxed=True,
    biased=True,
    bias="less at a lower temperature",
    divided_model=True,
)
def gumbel(
    *,
    samples: Count = 64,
    temperature: Positive = 0.5,
    final_temperature: Positive | None = None,
    anneal_steps: Count = 1000,
    sites: Mapping[str, Any] = {},
) -> SampledSurrogate:
    """The Concrete (Gumbel-softmax) relaxation of Bernoulli and one-hot draws: little variance, biased."""
    rule = GumbelSoftmax(
        temperature=temperature, final_temperature=final_temperature, anneal_steps=anneal_steps
    )
    return SampledSurrogate(rule, samples, sites)
