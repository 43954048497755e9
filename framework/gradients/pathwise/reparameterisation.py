"""Reparameterisation: x = g(noise, theta), so the cost is differentiated along the path of the draw.

grad E[f(x)] = E[grad f(g(noise, theta))]: for draws that have a path (location-scale pathwise; Gamma, Beta, Dirichlet,
von Mises and mixtures implicitly) and costs that are continuous in the draw. A branch on the draw loses its jump: where
f is discontinuous the estimate is biased, and no program can tell by itself. (Kingma & Welling 2014; Figurnov et al.
2018.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import Capabilities
from framework.config.types import Count
from framework.errors import ProgramError
from framework.gradients.distributions.boundary import refuse_boundary
from framework.gradients.distributions.implicit import draw, has_path
from framework.gradients.distributions.noise_families import base_of
from framework.gradients.distributions.refusal import others
from framework.gradients.surrogate.sampled import SampledSurrogate


class Reparameterisation:
    """Draw with a differentiable path to the distribution's parameters."""

    name = "reparameterisation"
    scored = False
    biased = False
    relaxed = False

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        if not has_path(distribution):
            raise ProgramError(
                f"draw '{site}' ~ {type(base_of(distribution)).__name__} has no differentiable path; "
                f"{others(self.name, distribution)}"
            )
        refuse_boundary(self.name, site, distribution)
        return draw(self.name, site, distribution, shape)


@Capabilities(
    draws=("path",),
    evaluations="n",
    costs="differentiable",
    multi_sample_bounds="served",
    higher_derivatives=True,
    moving_support=True,
    bias="except where a cost jumps in a draw",
    automatic=True,
    divided_model=True,
)
def reparameterisation(*, samples: Count = 64, sites: Mapping[str, Any] = {}) -> SampledSurrogate:
    """Differentiate along the path of each draw, for continuous draws and differentiable costs."""
    return SampledSurrogate(Reparameterisation(), samples, sites)
