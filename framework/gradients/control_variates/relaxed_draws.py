"""Relaxed draws: counterfactual runs whose draws are softened at a temperature, from the base run's noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, OneHotCategorical

from framework.gradients.coupled.chain_rule import Group
from framework.gradients.coupled.coupling import BaseDraw, Values
from framework.gradients.distributions.boundary import refuse_boundary
from framework.gradients.distributions.noise_families import (
    FAMILIES,
    BernoulliFamily,
    CategoricalFamily,
    Family,
    NormalFamily,
    base_of,
)
from framework.gradients.distributions.refusal import refuse


@dataclass(frozen=True, eq=False)
class RelaxedCoupling:
    """Couples a run with one whose draws are relaxed at a temperature, from the same noise.

    Attributes:
        relaxes: counterfactual runs take place; else draws need only be known with their latents.
    """

    name: str
    temperature: Tensor
    relaxes: bool

    def family(self, site: str, distribution: Distribution) -> Family:
        family = FAMILIES.get(type(base_of(distribution)))
        served = "Bernoulli, OneHotCategorical and Categorical"
        if self.name == "relax":
            served = "Bernoulli, OneHotCategorical, Categorical and Normal"
        normal = isinstance(family, NormalFamily) and self.name == "rebar"
        if family is None or normal:
            raise refuse(site, distribution, self.name, f"{served} draws")
        refuse_boundary(self.name, site, distribution)
        # What is relaxed is one-hot inside; the program is given an index.
        relaxes = self.relaxes and isinstance(family, CategoricalFamily)
        return FAMILIES[OneHotCategorical] if relaxes else family

    def counterfactual(self, draw: BaseDraw) -> Tensor:
        latent = draw.family.latent(draw.detached, draw.noise)
        return relaxed_value(draw.family, latent, self.temperature.detach())

    def resample_downstream(self, draw: BaseDraw, parameters: Values) -> Tensor:
        latent = draw.family.latent(parameters, draw.noise)
        return relaxed_value(draw.family, latent, self.temperature)


class RelaxedGroup:
    """A group of draws with its latents, `[n, ..., draws, ...]`, and these relaxed at the temperature."""

    def __init__(self, group: Group, temperature: Tensor) -> None:
        self.group = group
        self.latent = group.family.latent(group.parameters, group.noise).requires_grad_()
        self.relaxed = relaxed_value(group.family, self.latent, temperature)

    def in_counterfactual(self, by_draw: Mapping[int, Tensor]) -> Tensor:
        """Derivatives with respect to the members' leaves, counterfactual rows stacked: `[n, ..., draws, ...]`."""
        stacked = self.group.stacked(by_draw[id(draw)] for draw in self.group.members)
        return stacked[-len(self.latent) :]


def relaxed_value(family: Family, latent: Tensor, temperature: Tensor) -> Tensor:
    """The draw relaxed: at temperature 0 it is the hard draw. A Normal draw is continuous already."""
    if isinstance(family, BernoulliFamily):
        return (latent / temperature).sigmoid()
    return latent if isinstance(family, NormalFamily) else (latent / temperature).softmax(-1)


def leaves_of(draws: Sequence[BaseDraw]) -> list[Tensor]:
    """The draws in relaxed counterfactual runs, where there were any."""
    return [draw.leaf for draw in draws if draw.leaf is not None]


def derivatives(
    value: Tensor, inputs: Sequence[Tensor], outer: Tensor | None = None
) -> Sequence[Tensor | None]:
    """The derivative with respect to each input, itself differentiable; None where there is none."""
    if not value.requires_grad:
        return [None] * len(inputs)
    return torch.autograd.grad(value, inputs, outer, create_graph=True, allow_unused=True)
