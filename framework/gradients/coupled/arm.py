"""ARM and DisARM: Bernoulli draws in antithetic pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import Capabilities
from framework.gradients.coupled.chain_rule import Group, Pushed, backward, grouped
from framework.gradients.coupled.coupled_runs import (
    play_layers,
)
from framework.gradients.coupled.coupling import Record, Values
from framework.gradients.coupled.measure_valued import Samples
from framework.gradients.distributions.noise_families import (
    FAMILIES,
    Family,
    Logistic,
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
        if not isinstance(family, Logistic):
            raise refuse(site, distribution, self.name, "Bernoulli draws only")
        return family

    def partner(self, record: Record) -> Tensor:
        return record.family.value(record.parameters, -record.noise)

    def later(self, record: Record, parameters: Values) -> Tensor:
        return record.family.value(parameters, record.noise)


@Capabilities(
    draws=("Bernoulli",),
    evaluations="2n, n more for each further layer of draws",
    own_randomness=False,
)
class Arm(Estimator):
    """ARM: Bernoulli draws in antithetic pairs, two evaluations a sample for each layer of draws less one."""

    name = "arm"

    def __init__(self, *, samples: Samples = 16) -> None:
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
        runs = self.samples if program.one_sample_at_a_time else 1
        for played in play_layers(program, parameters, batch, self.coupling, self.samples):
            pushed: list[Pushed] = []
            for group in grouped(played):
                difference = (group.returns - group.partners).detach()
                pushed += group.push([group.credit(difference) * self.weight(group)])
            backward(played, pushed, parameters, scale / runs)
            objectives.append(played.hard)
            evaluations += played.evaluations
            biased |= played.biased
        return Estimate(
            objective=mean_objective(objectives), evaluations=evaluations, biased=biased
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
        partner = group.family.value(group.parameters, -group.noise)
        return (group.value - partner) * group.parameters[0].abs().sigmoid() / 2
