"""ARM and DisARM: Bernoulli draws in antithetic pairs, for costs known only by value.

ARM      (f(b) - f(b')) (u - 1/2),  b = 1[u > s(-l)],  b' = 1[u < s(l)]                    (Yin & Zhou 2019)
DisARM   (f(b) - f(b')) (b - b') s(|l|) / 2,  ARM averaged over all u that give b and b'   (Dong et al. 2020)

with s the logistic function and l the logits. First derivatives only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import Capabilities
from framework.config.types import Count
from framework.gradients.coupled.chain_rule import Cotangent, Group, backward, group_draws
from framework.gradients.coupled.coupled_runs import run_with_counterfactuals
from framework.gradients.coupled.coupling import BaseDraw, Values
from framework.gradients.distributions.boundary import refuse_boundary
from framework.gradients.distributions.noise_families import (
    FAMILIES,
    BernoulliFamily,
    Family,
    base_of,
)
from framework.gradients.distributions.refusal import refuse
from framework.gradients.estimator import Estimate, Estimator, mean_objective
from framework.parameters import Parameters
from framework.program import Program


@dataclass(frozen=True)
class Antithetic:
    """Couples Bernoulli draws by noise of opposite sign: u and 1 - u."""

    name: str
    relaxes: bool = False

    def family(self, site: str, distribution: Distribution) -> Family:
        family = FAMILIES.get(type(base_of(distribution)))
        if not isinstance(family, BernoulliFamily):
            raise refuse(site, distribution, self.name, "Bernoulli draws only")
        refuse_boundary(self.name, site, distribution)
        return family

    def counterfactual(self, draw: BaseDraw) -> Tensor:
        return draw.family.value(draw.parameters, -draw.noise)

    def resample_downstream(self, draw: BaseDraw, parameters: Values) -> Tensor:
        return draw.family.value(parameters, draw.noise)


@Capabilities(
    draws=("Bernoulli",),
    evaluations="2n, n more for each further layer of draws",
    own_randomness=False,
)
class Arm(Estimator):
    """ARM: Bernoulli draws in antithetic pairs, two evaluations a sample for each layer of draws less one."""

    name = "arm"

    def __init__(self, *, samples: Count = 32) -> None:
        self.samples = samples
        self.coupling = Antithetic(self.name)

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        objectives, evaluations, biased = [], 0, False
        repeats = self.samples if program.one_sample_at_a_time else 1
        for runs in run_with_counterfactuals(
            program, parameters, batch, self.coupling, self.samples
        ):
            cotangents: list[Cotangent] = []
            for group in group_draws(runs):
                difference = (group.returns - group.counterfactual_returns).detach()
                cotangents += group.cotangents([group.credit(difference) * self.weight(group)])
            backward(runs, cotangents, parameters, scale / repeats)
            objectives.append(runs.hard)
            evaluations += runs.evaluations
            biased |= runs.biased
        return Estimate(
            objective=mean_objective(objectives),
            evaluations=evaluations,
            biased=biased or program.findings.biases({self.name}),
        )

    def weight(self, group: Group) -> Tensor:
        """What the difference of the costs is multiplied by: u - 1/2."""
        return group.noise.sigmoid() - 0.5


@Capabilities(
    draws=("Bernoulli",),
    evaluations="2n, n more for each further layer of draws",
    own_randomness=False,
    automatic=True,
)
class Disarm(Arm):
    """DisARM: ARM averaged over the uniforms that give the same pair; never more variance."""

    name = "disarm"

    def weight(self, group: Group) -> Tensor:
        antithetic = group.family.value(group.parameters, -group.noise)
        return (group.value - antithetic) * group.parameters[0].abs().sigmoid() / 2
