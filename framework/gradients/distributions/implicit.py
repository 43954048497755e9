"""Implicit reparameterisation: draws that torch samples without a path move as their distribution function says.

F(x; theta) of a continuous draw is uniform whatever theta is. Held where it is, x must move with theta by

    dx/dtheta = - dF(x; theta)/dtheta / p(x; theta)

which needs no inverse of F (Figurnov et al. 2018). torch does so itself for Gamma, Beta and Dirichlet; here

von Mises     about its mode F is the integral of p from 0 to x up to a constant: Gauss-Legendre nodes on [0, x]
mixtures      F = sum over k of w_k F_k(x); of a vector, one number after the other, w_k given those before it

First derivatives only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy
import torch
from torch import Tensor
from torch.distributions import (
    Beta,
    Cauchy,
    ContinuousBernoulli,
    Dirichlet,
    Distribution,
    Exponential,
    FisherSnedecor,
    Gamma,
    Gumbel,
    Independent,
    Laplace,
    MixtureSameFamily,
    Normal,
    StudentT,
    TransformedDistribution,
    Uniform,
    VonMises,
    Wishart,
)

from framework.gradients.distributions.noise_families import base_of
from framework.gradients.estimator import first_order_only

# Those whose distribution function torch can differentiate.
COMPONENTS = (Cauchy, Exponential, Gumbel, Laplace, Normal, Uniform)
# Those that torch reparameterises implicitly, in the parameters named.
IMPLICIT: dict[type[Distribution], tuple[str, ...]] = {
    Gamma: ("concentration",),
    Beta: ("concentration1", "concentration0"),
    Dirichlet: ("concentration",),
    StudentT: ("df",),
    FisherSnedecor: ("df1", "df2"),
}
# Exact to rounding: a draw lies within a few widths of its mode, where p is smooth.
NODES = 32


def has_path(distribution: Distribution) -> bool:
    """Whether a draw can be differentiated with respect to the distribution's parameters."""
    return distribution.has_rsample or own_path(base_of(distribution)) is not None


def draw(estimator: str, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
    """A draw with a path, `[*shape, *batch_shape, *event_shape]`, of a distribution that has one."""
    base = base_of(distribution)
    move = own_path(base)
    if isinstance(base, Wishart):
        # torch's own `rsample` writes into the draw again, which loses the path, and cannot be differentiated again.
        return first_order_only(estimator, site, base._bartlett_sampling(shape))
    if distribution.has_rsample or move is None:
        value = distribution.rsample(shape)
        near_uniform = isinstance(base, ContinuousBernoulli)
        if near_uniform:
            value = value + tilt(base, value)
        implicit = any(shape_parameters(distribution)) or near_uniform
        return first_order_only(estimator, site, value) if implicit else value
    value = distribution.sample(shape)
    return first_order_only(estimator, site, move(base_of(distribution), value))


def shape_parameters(distribution: Distribution) -> Iterator[bool]:
    """Whether each parameter needs a gradient that torch computes implicitly, which it cannot differentiate again."""
    while isinstance(distribution, Independent | TransformedDistribution):
        distribution = distribution.base_dist
    for kind, names in IMPLICIT.items():
        if isinstance(distribution, kind):
            yield from (getattr(distribution, name).requires_grad for name in names)


def own_path(distribution: Distribution) -> Callable[[Distribution, Tensor], Tensor] | None:
    """The function that gives a draw of the distribution its path; None: there is none here."""
    if isinstance(distribution, VonMises):
        return move_von_mises
    if isinstance(distribution, MixtureSameFamily):
        component = distribution._component_distribution
        if isinstance(component, Independent) and component.reinterpreted_batch_ndims == 1:
            component = component.base_dist
        if isinstance(component, COMPONENTS):
            return move_mixture
    return None


def tilt(distribution: Distribution, value: Tensor) -> Tensor:
    """0, with the path that a continuous Bernoulli draw has about p = 1/2, where torch takes a uniform one for it.

    With e the logit F(x) = (exp(e x) - 1) / (exp(e) - 1) and dx/de = x (1 - x) / 2 at e = 0; its error is of order e.
    """
    assert isinstance(distribution, ContinuousBernoulli)
    logits = distribution.logits
    x = value.detach()
    moved = x * (1 - x) / 2 * (logits - logits.detach())
    return torch.where(distribution._outside_unstable_region(), 0.0, moved)


def follow(value: Tensor, distribution_function: Tensor, density: Tensor) -> Tensor:
    """`value` with the derivatives that hold its distribution function constant."""
    moved = distribution_function - distribution_function.detach()
    return value - moved / density.detach().clamp_min(torch.finfo(value.dtype).tiny)


def move_von_mises(distribution: Distribution, value: Tensor) -> Tensor:
    """Angles `[..., *batch_shape]`; a turn of the mode turns them with it."""
    assert isinstance(distribution, VonMises)
    loc, concentration = distribution.loc, distribution.concentration.to(value.dtype)
    angle = (value - loc.detach() + math.pi) % (2 * math.pi) - math.pi  # from the mode
    points, weights = legendre(value.dtype, value.device)
    at = angle.unsqueeze(-1) * points
    whole = 2 * math.pi * torch.special.i0e(concentration)
    heights = (concentration.unsqueeze(-1) * (at.cos() - 1)).exp() / whole.unsqueeze(-1)
    integral = angle * (heights * weights).sum(-1)
    density = (concentration * (angle.cos() - 1)).exp() / whole
    return follow(value, integral, density) + (loc - loc.detach())


@cache
def legendre(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre points and weights on [0, 1]."""
    points, weights = numpy.polynomial.legendre.leggauss(NODES)
    return (
        torch.as_tensor((points + 1) / 2).to(device, dtype),
        torch.as_tensor(weights / 2).to(device, dtype),
    )


def move_mixture(distribution: Distribution, value: Tensor) -> Tensor:
    """Draws `[..., *batch_shape]`, or vectors of independent components `[..., *batch_shape, D]`."""
    assert isinstance(distribution, MixtureSameFamily)
    component = distribution._component_distribution
    base = component.base_dist if isinstance(component, Independent) else None  # of vectors
    log_weight, moved = distribution._mixture_distribution.logits, []
    for number, x in enumerate([value] if base is None else value.unbind(-1)):
        part = component if base is None else element(base, number)
        at, weight = x.unsqueeze(-1), log_weight.softmax(-1)
        whole = (weight * part.cdf(at)).sum(-1)
        density = (weight * part.log_prob(at).exp()).sum(-1)
        moved.append(follow(x, whole, density))
        log_weight = log_weight + part.log_prob(moved[-1].unsqueeze(-1))
    return moved[0] if base is None else torch.stack(moved, -1)


def element(distribution: Distribution, number: int) -> Distribution:
    """The distribution of one number of the last batch axis."""
    names = distribution.arg_constraints
    return type(distribution)(
        **{name: getattr(distribution, name)[..., number] for name in names}, validate_args=False
    )
