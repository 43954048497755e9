"""Coupling: the difference of two runs that share their noise, for costs known only by value.

ARM             (f(b) - f(b')) (u - 1/2),  b = 1[u > s(-l)],  b' = 1[u < s(l)]          (Yin & Zhou 2019)
DisARM          (f(b) - f(b')) (b - b') s(|l|) / 2, ARM averaged over all u that give b, b'   (Dong et al. 2020)
measure-valued  c (E f(x+) - E f(x-)),  the derivative of a density as a difference of two   (Mohamed et al. 2020)

with s the logistic function and l the logits of Bernoulli draws. All first derivatives only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Distribution, Gamma, Poisson
from torch.nn.functional import one_hot

from framework.capabilities import Capabilities, alternatives
from framework.errors import ProgramError
from framework.gradients.coupled.chain_rule import Pushed, backward, carries_batch
from framework.gradients.coupled.coupled_runs import (
    Branch,
    Played,
    in_one_run,
    play_layers,
    replayed,
)
from framework.gradients.coupled.coupling import Record, Values
from framework.gradients.distributions.noise_families import (
    FAMILIES,
    Family,
    Gaussian,
    Gumbel,
    Logistic,
    base_of,
)
from framework.gradients.distributions.refusal import refuse
from framework.gradients.estimator import Estimate, Estimator, mean_objective
from framework.parameters import Parameters
from framework.program import Program

Samples = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Itself:
    """A family without noise of its own: the draw stands for it."""

    distribution: Callable[..., Distribution]
    names: tuple[str, ...]

    def parameters(self, distribution: Distribution) -> tuple[Tensor, ...]:
        return tuple(getattr(distribution, name) for name in self.names)

    def noise(self, parameters: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
        return self.distribution(*parameters, validate_args=False).sample(shape)

    def latent(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        return noise

    def value(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        return noise


POISSON = Itself(Poisson, ("rate",))
GAMMA = Itself(Gamma, ("concentration", "rate"))
SERVED: dict[type[Distribution], Family] = {**FAMILIES, Poisson: POISSON, Gamma: GAMMA}


@dataclass(frozen=True)
class Weak:
    """Draws anew behind a change; a draw whose parameters have not changed stays what it was."""

    name: str = "measure_valued"
    relaxes: bool = False

    def family(self, site: str, distribution: Distribution) -> Family:
        family = SERVED.get(type(base_of(distribution)))
        if family is None:
            served = "Normal, Poisson, Gamma, Bernoulli, Categorical and OneHotCategorical draws"
            raise refuse(site, distribution, self.name, served)
        return family

    def partner(self, record: Record) -> Tensor:
        return record.value

    def later(self, record: Record, parameters: Values) -> Tensor:
        if not isinstance(record.family, Itself):
            return record.family.value(parameters, record.noise)
        fresh = record.family.noise(parameters, torch.Size(() if record.carried else (1,)))
        pairs = zip(parameters, record.parameters, strict=True)
        same = torch.stack([now == before for now, before in pairs]).all(0)
        return torch.where(same, record.value, fresh)


@dataclass(eq=False)
class Variation:
    """One weak derivative of a draw, for all its elements: d E f / d parameter = coefficient (E f(plus) - E f(minus)).

    Attributes:
        parameter: its number in the record's parameters.
        category: of a categorical draw's logits, the one concerned.
        coefficient: of each element, broadcasting against `[n, ...]`.
        plus, minus: values of all elements; minus None: the draw as it was.
    """

    parameter: int
    coefficient: Tensor
    plus: Tensor
    minus: Tensor | None = None
    category: int | None = None


@Capabilities(
    draws=("Normal", "Poisson", "Gamma rate", "Bernoulli", "Categorical", "OneHotCategorical"),
    evaluations="about n for each scalar parameter of a draw",
    own_randomness=False,
    automatic=True,
)
class MeasureValued(Estimator):
    """Measure-valued derivatives: each scalar parameter of each draw moves by itself, all else held fixed."""

    def __init__(self, *, samples: Samples = 16) -> None:
        self.samples = samples
        self.coupling = Weak()

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
        for played in play_layers(
            program, parameters, batch, self.coupling, self.samples, partners=False
        ):
            with torch.no_grad():
                pushed = self.derivatives(played, program, parameters, batch)
            backward(played, pushed, parameters, scale / runs)
            objectives.append(played.hard)
            evaluations += played.evaluations
            biased |= played.biased
        return Estimate(
            objective=mean_objective(objectives), evaluations=evaluations, biased=biased
        )

    def derivatives(
        self, played: Played, program: Program, parameters: Parameters, batch: Any
    ) -> list[Pushed]:
        """The gradient with respect to each draw's parameters, summed over samples and data."""
        told = [(i, v) for i, record in enumerate(played.records) for v in variations(record)]
        branches = []
        for i, variation in told:
            sides = (
                [variation.plus] if variation.minus is None else [variation.plus, variation.minus]
            )
            branches += [Branch({i: one_by_one(played, i, side)}) for side in sides]
        costs = iter(self.costs(played, program, parameters, batch, branches))
        gradients: dict[tuple[int, int], list[Tensor]] = {}
        for i, variation in told:
            above = next(costs)
            below = played.returns[i] if variation.minus is None else next(costs)
            slope = variation.coefficient * elements(played, i, above - below)
            gradients.setdefault((i, variation.parameter), []).append(slope)
        pushed = []
        for (i, number), parts in gradients.items():
            target = played.records[i].parameters[number]
            categorical = isinstance(played.records[i].family, Gumbel)
            gradient = torch.stack(parts, -1) if categorical else parts[0]
            pushed.append((target, gradient.sum_to_size(target.shape)))
        return pushed

    def costs(
        self,
        played: Played,
        program: Program,
        parameters: Parameters,
        batch: Any,
        branches: Sequence[Branch],
    ) -> Iterator[Tensor]:
        """For each branch the costs charged behind its draw, `[elements, n, *batch]`."""
        blocks = []
        for group in in_one_run(branches, loop=program.one_sample_at_a_time):
            costs = replayed(played, program, parameters, batch, self.coupling, group)
            start = 0
            for branch in group:
                (i,) = branch.values
                blocks.append(costs[i][start : start + branch.blocks])
                start += branch.blocks
        flat = iter(torch.cat(blocks)) if blocks else iter(())
        for branch in branches:
            yield torch.stack([next(flat) for _ in range(branch.blocks)])


def one_by_one(played: Played, index: int, other: Tensor) -> Tensor:
    """The draw with one element taken from `other`, for each element: `[elements, *draw's shape]`."""
    record = played.records[index]
    shape, event = record.value.shape, event_dimensions(record)
    lead = len(played.shape) if carries_batch(record, played.shape) else 1
    rest = shape[lead : len(shape) - event]
    count = rest.numel()
    mask = torch.eye(count, dtype=torch.bool, device=other.device)
    mask = mask.reshape(count, *[1] * lead, *rest, *[1] * event)
    return torch.where(mask, other, record.value)


def elements(played: Played, index: int, difference: Tensor) -> Tensor:
    """Differences `[elements, n, *batch]` as what each element of the draw is charged with, `[n, ...]`."""
    record = played.records[index]
    per_datum = carries_batch(record, played.shape)
    charged = difference if per_datum else difference.flatten(2).sum(2)
    shape = record.value.shape[: record.value.dim() - event_dimensions(record)]
    return charged.movedim(0, -1).reshape(shape)


def event_dimensions(record: Record) -> int:
    return int(isinstance(record.family, Gumbel) and record.family.one_hot)


def variations(record: Record) -> Iterator[Variation]:
    """The weak derivatives of a draw with respect to those of its parameters that want a gradient."""
    wanted = [p.requires_grad for p in record.parameters]
    fixed, value = record.fixed, record.value
    if record.family is GAMMA:
        yield from gamma_variations(record, wanted)
    elif record.family is POISSON and wanted[0]:
        yield Variation(0, torch.ones_like(value), value + 1)
    elif isinstance(record.family, Gaussian):
        yield from normal_variations(record, wanted)
    elif isinstance(record.family, Logistic) and wanted[0]:
        chance = fixed[0].sigmoid()
        yield Variation(0, chance * (1 - chance) * (1 - 2 * value), 1 - value)
    elif isinstance(record.family, Gumbel) and wanted[0]:
        chances = fixed[0].softmax(-1)
        for k in range(chances.shape[-1]):
            chosen = torch.tensor(k, device=value.device)
            plus = one_hot(chosen, chances.shape[-1]) if record.family.one_hot else chosen
            plus = plus.to(value.dtype).expand(value.shape)
            yield Variation(0, chances[..., k], plus, category=k)


def normal_variations(record: Record, wanted: Sequence[bool]) -> Iterator[Variation]:
    """Mean: Rayleigh steps up and down. Scale: a double-sided Maxwell draw against the Normal draw itself.

    A Maxwell draw times a uniform is Normal, so that given the Normal noise e the Maxwell one is
    sign(e) sqrt(e^2 + 2 E), with E exponential: the two sides share all that they can.
    """
    loc, scale = record.fixed
    noise = record.noise
    waiting = torch.empty_like(noise).exponential_()
    if wanted[0]:
        step = scale * (2 * waiting).sqrt()
        coefficient = (1 / (math.sqrt(2 * math.pi) * scale)).expand_as(noise)
        yield Variation(0, coefficient, loc + step, loc - step)
    if wanted[1]:
        maxwell = noise.sign() * (noise.square() + 2 * waiting).sqrt()
        yield Variation(1, (1 / scale).expand_as(noise), loc + scale * maxwell)


def gamma_variations(record: Record, wanted: Sequence[bool]) -> Iterator[Variation]:
    """Rate: d Gamma(a, r) / dr = a/r (Gamma(a, r) - Gamma(a + 1, r)); the second is the first plus an exponential.

    Raises:
        ProgramError: the concentration wants a gradient, whose two densities nobody can draw from directly.
    """
    if wanted[0]:
        raise ProgramError(
            f"draw '{record.site}' ~ Gamma: measure_valued serves its rate, not its concentration; "
            f"{alternatives([{'Gamma', 'path'}], without='measure_valued')}"
        )
    if wanted[1]:
        concentration, rate = record.fixed
        more = record.value + torch.empty_like(record.value).exponential_() / rate
        yield Variation(1, -(concentration / rate).expand_as(more), more)
