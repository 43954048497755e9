"""Exact gradients: autodiff where nothing is drawn, the sum over all values where finitely many can be.

E[f] = sum over x of p(x) f(x). Every joint value of the program's finite draws becomes one sample of weight p(x); a
Normal draw is integrated by Gauss-Hermite quadrature, exact to rounding for smooth costs and declared biased because
a cost with a jump is not smooth. The derivative is that of p, so that the cost may be a black box in the draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy
import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from framework.errors import ProgramError
from framework.gradients.estimator import Estimate, SurrogateEstimator, mean_objective
from framework.gradients.surrogate import surrogate
from framework.program import Parameters, Program, Trace
from framework.relaxed import smoothing


@dataclass(eq=False)
class Nodes:
    """The values that one draw takes, and their weights relative to its density (1 for finite draws).

    Attributes:
        values: `[K, *event]`, the draw's values for each of its elements alone.
        weights: `[K]`, quadrature weights, or None where the probability itself is the weight.
        elements: how many independent elements the draw has behind the batch axes.
    """

    values: Tensor
    weights: Tensor | None
    elements: int

    @property
    def states(self) -> int:
        return int(self.values.shape[0] ** self.elements)


class Exact(SurrogateEstimator):
    """Exact: autodiff, every value of finite draws, Gauss-Hermite quadrature of Normal draws."""

    def __init__(
        self,
        *,
        states: Annotated[int, Field(ge=1)] = 4096,
        nodes: Annotated[int, Field(ge=2, le=128)] = 32,
    ) -> None:
        self.states = states
        self.nodes = nodes

    def surrogate(
        self, program: Program, parameters: Parameters, batch: Any = None
    ) -> tuple[Tensor, Estimate]:
        with smoothing() as smooth:
            loss, estimate = self.sum_of_states(program, parameters, batch)
        if smooth.used:  # exact for the smoothed program; the objective is the hard one's
            with torch.no_grad():
                hard = self.sum_of_states(program, parameters, batch)[1]
            estimate.objective, estimate.biased = hard.objective, True
            estimate.evaluations += hard.evaluations
        return loss, estimate

    def sum_of_states(
        self, program: Program, parameters: Parameters, batch: Any
    ) -> tuple[Tensor, Estimate]:
        """The weighted sum over all joint values of the draws."""
        survey = Survey(self.nodes, program.batch_axes)
        trace = program.run(lambda site: survey, parameters, batch)[0]
        if not trace.draws:
            loss = trace.objective()
            return loss, Estimate(objective=loss.detach(), evaluations=1, biased=False)
        if len({draw.name for draw in trace.draws}) < len(trace.draws):
            names = ", ".join(draw.name for draw in trace.draws)
            raise ProgramError(f"exact: two draws share a name ({names}); give each draw its own")
        states = math.prod(nodes.states for nodes in survey.sites.values())
        if states > self.states or program.loop:
            what = f"{states} states, more than estimator.states={self.states}"
            raise ProgramError(
                f"exact: {'a program in loop mode cannot be enumerated' if program.loop else what}; "
                "estimators that can serve it: reinforce, rloo, spsa, evolution_strategies"
            )
        walk = Enumeration(survey.sites, states, program.batch_axes)
        trace = program.run(lambda site: walk, parameters, batch, samples=states)[0]
        weights = walk.weights(trace)
        loss = surrogate([trace], weights=weights)
        return loss, Estimate(
            objective=mean_objective([loss]),
            evaluations=states,
            biased=any(nodes.weights is not None for nodes in survey.sites.values()),
        )


class Survey:
    """A first run with one sample that notes which values each draw can take."""

    name = "exact"
    scored = True
    biased = False
    relaxed = False

    def __init__(self, nodes: int, batch_axes: int) -> None:
        self.nodes = nodes
        self.batch_axes = batch_axes
        self.sites: dict[str, Nodes] = {}

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        self.sites[site] = self._nodes(site, distribution, 0 if shape else 1)
        return distribution.sample(shape)

    def _nodes(self, site: str, distribution: Distribution, carried: int) -> Nodes:
        base = distribution.base_dist if isinstance(distribution, Independent) else distribution
        elements = math.prod(base.batch_shape[carried + self.batch_axes :])
        if base.has_enumerate_support:
            support = base.enumerate_support(expand=False)
            return Nodes(support.reshape(len(support), *base.event_shape), None, elements)
        if isinstance(base, Normal):
            points, weights = numpy.polynomial.hermite.hermgauss(self.nodes)
            dtype = base.loc.dtype
            return Nodes(
                torch.as_tensor(points * math.sqrt(2), dtype=dtype),
                torch.as_tensor(weights / math.sqrt(math.pi), dtype=dtype),
                elements,
            )
        raise ProgramError(
            f"draw '{site}' ~ {type(base).__name__} has no finite set of values; estimators that can serve it: "
            f"{'reparameterisation, ' if base.has_rsample else ''}reinforce, rloo, spsa, evolution_strategies"
        )


class Enumeration:
    """The second run: sample i of every draw takes the value that i's digits name."""

    name = "exact"
    scored = True
    biased = False
    relaxed = False

    def __init__(self, sites: dict[str, Nodes], states: int, batch_axes: int) -> None:
        self.sites = sites
        self.states = states
        self.batch_axes = batch_axes
        self.rest = states  # the product of the states of the draws still to come
        self.quadrature = torch.ones(())  # [n], the product of the quadrature weights

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        nodes = self.sites.get(site)
        if nodes is None:
            raise ProgramError(
                f"exact: draw '{site}' depends on the value of another; loop over it"
            )
        self.rest //= nodes.states
        digits = torch.arange(self.states) // self.rest % nodes.states  # [n]
        choices = len(nodes.values)
        powers = choices ** torch.arange(nodes.elements)
        index = digits.unsqueeze(1) // powers % choices  # [n, elements]
        if nodes.weights is not None:
            self.quadrature = self.quadrature * nodes.weights[index].prod(1)
        base = distribution.base_dist if isinstance(distribution, Independent) else distribution
        full = torch.Size(shape) + base.batch_shape
        lead = full[1 : 1 + self.batch_axes]
        rest = full[1 + self.batch_axes :]
        event = base.event_shape
        values = nodes.values.reshape(choices, *event)[index]  # [n, elements, *event]
        values = values.reshape(self.states, *[1] * len(lead), *rest, *event)
        values = values.expand(self.states, *lead, *rest, *event)
        if isinstance(base, Normal):
            values = (base.loc + base.scale * values).detach()
        return values

    def weights(self, trace: Trace) -> Tensor:
        """Each sample's weight `[n, *batch]`: the probability of its finite draws times quadrature weights."""
        total = self.quadrature.reshape(-1, *[1] * (len(trace.shape) - 1))
        for draw in trace.draws:
            if self.sites[draw.name].weights is None:
                with torch.no_grad():
                    log_prob = draw.distribution.log_prob(draw.value)
                    total = total * trace.leading(log_prob, f"draw '{draw.name}'").exp()
        return total
