"""Measure-valued derivatives: the derivative of a density as a difference of two, for costs known only by value.

    d E f / d parameter = c (E f(x+) - E f(x-))                                            (Mohamed et al. 2020)

Each scalar parameter of each draw moves by itself while all else is held fixed. First derivatives only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import Capabilities
from framework.config.types import Count
from framework.gradients.coupled.chain_rule import Cotangent, backward
from framework.gradients.coupled.coupled_runs import (
    CoupledRuns,
    branches_per_run,
    counterfactual_costs,
    run_with_counterfactuals,
)
from framework.gradients.coupled.coupling import BaseDraw, Values
from framework.gradients.coupled.run_rules import Branch
from framework.gradients.coupled.weak_derivatives import (
    SERVED,
    SampleIsNoise,
    event_dimensions,
    family_of,
    weak_derivatives,
)
from framework.gradients.distributions.noise_families import CategoricalFamily, Family, base_of
from framework.gradients.distributions.refusal import refuse
from framework.gradients.estimator import Estimate, Estimator, mean_objective
from framework.parameters import Parameters
from framework.program import Program


@dataclass(frozen=True)
class MeasureValuedCoupling:
    """Resamples downstream of a change; a draw whose parameters have not changed keeps its value."""

    name: str = "measure_valued"
    relaxes: bool = False

    def family(self, site: str, distribution: Distribution) -> Family:
        family = family_of(base_of(distribution))
        if family is None:
            raise refuse(site, distribution, self.name, f"{SERVED} draws")
        return family

    def counterfactual(self, draw: BaseDraw) -> Tensor:
        return draw.value

    def resample_downstream(self, draw: BaseDraw, parameters: Values) -> Tensor:
        if not isinstance(draw.family, SampleIsNoise):
            return draw.family.value(parameters, draw.noise)
        fresh = draw.family.noise(parameters, torch.Size(() if draw.has_sample_axis else (1,)))
        pairs = zip(parameters, draw.parameters, strict=True)
        same = torch.stack([now == before for now, before in pairs]).all(0)
        return torch.where(same, draw.value, fresh)


@Capabilities(
    draws=(
        "Normal",
        "Exponential",
        "Gamma",
        "Beta",
        "Bernoulli",
        "Categorical",
        "OneHotCategorical",
        "Binomial",
        "Poisson",
        "Geometric",
    ),
    evaluations="about n for each scalar parameter of a draw",
    own_randomness=False,
    boundary=True,
    automatic=True,
)
class MeasureValued(Estimator):
    """Measure-valued derivatives: each scalar parameter of each draw moves by itself, all else held fixed."""

    def __init__(self, *, samples: Count = 16) -> None:
        self.samples = samples
        self.coupling = MeasureValuedCoupling()

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
            program, parameters, batch, self.coupling, self.samples, counterfactuals=False
        ):
            with torch.no_grad():
                cotangents = self.derivatives(runs, program, parameters, batch)
            backward(runs, cotangents, parameters, scale / repeats)
            objectives.append(runs.hard)
            evaluations += runs.evaluations
            biased |= runs.biased
        return Estimate(
            objective=mean_objective(objectives),
            evaluations=evaluations,
            biased=biased or program.findings.biases({"measure_valued"}),
        )

    def derivatives(
        self, runs: CoupledRuns, program: Program, parameters: Parameters, batch: Any
    ) -> list[Cotangent]:
        """The gradient with respect to each draw's parameters, summed over samples and data."""
        moves = [(i, d) for i, draw in enumerate(runs.draws) for d in weak_derivatives(draw)]
        branches = []
        for i, derivative in moves:
            sides = (
                [derivative.plus]
                if derivative.minus is None
                else [derivative.plus, derivative.minus]
            )
            branches += [Branch({i: one_by_one(runs, i, side)}) for side in sides]
        costs = iter(self.costs(runs, program, parameters, batch, branches))
        gradients: dict[tuple[int, int], list[Tensor]] = {}
        for i, derivative in moves:
            above = next(costs)
            below = runs.returns[i] if derivative.minus is None else next(costs)
            slope = derivative.coefficient * elements(runs, i, above - below)
            gradients.setdefault((i, derivative.parameter), []).append(slope)
        cotangents = []
        for (i, number), parts in gradients.items():
            target = runs.draws[i].parameters[number]
            categorical = isinstance(runs.draws[i].family, CategoricalFamily)
            gradient = torch.stack(parts, -1) if categorical else parts[0]
            cotangents.append((target, gradient.sum_to_size(target.shape)))
        return cotangents

    def costs(
        self,
        runs: CoupledRuns,
        program: Program,
        parameters: Parameters,
        batch: Any,
        branches: Sequence[Branch],
    ) -> Iterator[Tensor]:
        """For each branch the costs charged after its draw, `[elements, n, *batch]`."""
        blocks = []
        for group in branches_per_run(branches, loop=program.one_sample_at_a_time):
            costs = counterfactual_costs(runs, program, parameters, batch, self.coupling, group)
            start = 0
            for branch in group:
                (i,) = branch.values
                by_block = costs[i].unflatten(0, (-1, runs.shape[0]))
                blocks.append(by_block[start : start + branch.blocks])
                start += branch.blocks
        flat = iter(torch.cat(blocks)) if blocks else iter(())
        for branch in branches:
            yield torch.stack([next(flat) for _ in range(branch.blocks)])


def one_by_one(runs: CoupledRuns, index: int, other: Tensor) -> Tensor:
    """The draw with one element taken from `other`, for each element: `[elements, *draw's shape]`."""
    draw = runs.draws[index]
    shape, event = draw.value.shape, event_dimensions(draw)
    lead = len(runs.shape) if draw.per_datum else 1
    rest = shape[lead : len(shape) - event]
    count = rest.numel()
    mask = torch.eye(count, dtype=torch.bool, device=other.device)
    mask = mask.reshape(count, *[1] * lead, *rest, *[1] * event)
    return torch.where(mask, other, draw.value)


def elements(runs: CoupledRuns, index: int, difference: Tensor) -> Tensor:
    """Differences `[elements, n, *batch]` as what each element of the draw is charged with, `[n, ...]`."""
    draw = runs.draws[index]
    charged = difference if draw.per_datum else difference.flatten(2).sum(2)
    shape = draw.value.shape[: draw.value.dim() - event_dimensions(draw)]
    return charged.movedim(0, -1).reshape(shape)
