"""The weak derivatives of the families that measure_valued serves.

    d E f / d parameter = c (E f(x+) - E f(x-))

A density's derivative integrates to 0, so that it is c times the difference of two densities. One of the two draws is
the draw itself wherever that can be, and the other shares its randomness:

family       parameter      c            x+                    x-
Bernoulli    p              1            1                     0
categorical  p_k            1            k                     x, since the probabilities still sum to 1
Binomial     p              N            1 + y                 y ~ Binomial(N - 1, p)
Geometric    p              1/p          x                     x + y + 1, y another such draw
Poisson      rate           1            x + 1                 x
Exponential  rate           1/rate       x                     x + y, y another such draw
Gamma        rate           a/rate       x                     x + y, y ~ Exponential(rate)
Gamma, Beta  concentration  see `gamma_concentration.py`
Normal       mean           1/(s sqrt(2 pi))   mean + s w      mean - s w, w ~ Rayleigh
Normal       scale s        1/s          mean + s m            x, m ~ double-sided Maxwell

By logits, dp/dl = p (1 - p) is part of c. (Poisson to Normal: Mohamed et al. 2020, table 1. Geometric: the derivative
of p q^k is q^k - k p q^(k-1), the first Geometric over p, the second 1 + the sum of two such draws over p. Binomial:
N trials of which one is p and the others are held fixed, N times; leaving out one trial of x, a success with
probability x/N, leaves a Binomial(N - 1, p) draw.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import (
    Beta,
    Binomial,
    Distribution,
    Exponential,
    Gamma,
    Geometric,
    Poisson,
)
from torch.nn.functional import one_hot

from framework.gradients.coupled.coupling import BaseDraw
from framework.gradients.coupled.gamma_concentration import (
    concentration_derivative,
    log_gamma_sample,
)
from framework.gradients.distributions.noise_families import (
    FAMILIES,
    BernoulliFamily,
    CategoricalFamily,
    Family,
    NormalFamily,
    built_from_probs,
)

SERVED = "Normal, Exponential, Gamma, Beta, Bernoulli, Categorical, OneHotCategorical, Binomial, Poisson and Geometric"


@dataclass(frozen=True)
class SampleIsNoise:
    """A family without noise of its own: the draw stands for it."""

    distribution: Callable[..., Distribution]
    names: tuple[str, ...]

    def parameters(self, distribution: Distribution) -> tuple[Tensor, ...]:
        return tuple(getattr(distribution, name) for name in self.names)

    def noise(self, parameters: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
        named = dict(zip(self.names, parameters, strict=True))
        return self.distribution(**named, validate_args=False).sample(shape)

    def latent(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        return noise

    def value(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        return noise


OWN_NOISE: dict[type[Distribution], SampleIsNoise] = {
    Poisson: SampleIsNoise(Poisson, ("rate",)),
    Exponential: SampleIsNoise(Exponential, ("rate",)),
    Gamma: SampleIsNoise(Gamma, ("concentration", "rate")),
    Beta: SampleIsNoise(Beta, ("concentration1", "concentration0")),
    Geometric: SampleIsNoise(Geometric, ("logits",)),
    Binomial: SampleIsNoise(Binomial, ("logits", "total_count")),
}


def family_of(distribution: Distribution) -> Family | None:
    """The family of a draw, by its probabilities where it was given these; None: there is none."""
    kind = type(distribution)
    family = FAMILIES.get(kind) or OWN_NOISE.get(kind)
    if isinstance(family, SampleIsNoise) and "logits" in family.names:
        given = "probs" if built_from_probs(distribution) else "logits"
        return SampleIsNoise(kind, (given, *family.names[1:]))
    if isinstance(family, BernoulliFamily):
        return BernoulliFamily(by_probs=built_from_probs(distribution))
    if isinstance(family, CategoricalFamily):
        return CategoricalFamily(family.one_hot, by_probs=built_from_probs(distribution))
    return family


@dataclass(eq=False)
class WeakDerivative:
    """One weak derivative of a draw, for all its elements: d E f / d parameter = coefficient (E f(plus) - E f(minus)).

    Attributes:
        parameter: its number in the draw's parameters.
        category: of a categorical draw's parameters, the one concerned.
        coefficient: of each element, broadcasting against `[n, ...]`.
        plus, minus: values of all elements; minus None: the draw as it was.
    """

    parameter: int
    coefficient: Tensor
    plus: Tensor
    minus: Tensor | None = None
    category: int | None = None


def event_dimensions(draw: BaseDraw) -> int:
    return int(isinstance(draw.family, CategoricalFamily) and draw.family.one_hot)


def weak_derivatives(draw: BaseDraw) -> Iterator[WeakDerivative]:
    """The weak derivatives of a draw with respect to those of its parameters that need a gradient."""
    needed = [p.requires_grad for p in draw.parameters]
    family = draw.family
    if isinstance(family, NormalFamily):
        yield from normal(draw, needed)
    elif isinstance(family, SampleIsNoise) and family.distribution is Gamma:
        yield from gamma(draw, needed)
    elif isinstance(family, SampleIsNoise) and family.distribution is Beta:
        yield from beta(draw, needed)
    elif not needed[0]:
        return
    elif isinstance(family, BernoulliFamily):
        coefficient = 1 - 2 * draw.value
        yield WeakDerivative(0, coefficient * slope(draw, family.by_probs), 1 - draw.value)
    elif isinstance(family, CategoricalFamily):
        yield from categorical(draw, family)
    elif isinstance(family, SampleIsNoise):
        by_probs = family.names[0] == "probs"
        yield WeakDerivative(0, *SINGLE[family.distribution](draw, by_probs))


def slope(draw: BaseDraw, by_probs: bool) -> Tensor:
    """The derivative of the probability with respect to the parameter."""
    parameter = draw.detached[0]
    if by_probs:
        return torch.ones_like(parameter)
    p = parameter.sigmoid()
    return p * (1 - p)


def categorical(draw: BaseDraw, family: CategoricalFamily) -> Iterator[WeakDerivative]:
    """Each category in turn against the draw itself."""
    (parameter,) = draw.detached
    value, count = draw.value, parameter.shape[-1]
    weight = torch.ones_like(parameter) if family.by_probs else parameter.softmax(-1)
    for k in range(count):
        chosen = torch.full((), k, device=value.device)
        plus = one_hot(chosen, count) if family.one_hot else chosen
        plus = plus.to(value.dtype).expand(value.shape)
        yield WeakDerivative(0, weight[..., k], plus, category=k)


def binomial(draw: BaseDraw, by_probs: bool) -> tuple[Tensor, Tensor]:
    """One trial is left out: where it was a success, x is the upper value of the two, else the lower one."""
    _, total = draw.detached
    success = torch.bernoulli((draw.value / total.clamp_min(1)).clamp(0, 1))
    sign = 1 - 2 * success
    # Without a trial there is nothing to change.
    other = torch.where(total > 0, draw.value + sign, draw.value)
    return total * sign * slope(draw, by_probs), other


def geometric(draw: BaseDraw, by_probs: bool) -> tuple[Tensor, Tensor]:
    parameter = draw.detached[0]
    coefficient = -1 / parameter if by_probs else -(-parameter).sigmoid()
    return coefficient.expand_as(draw.value), draw.value + another(draw) + 1


def poisson(draw: BaseDraw, by_probs: bool) -> tuple[Tensor, Tensor]:
    return torch.ones_like(draw.value), draw.value + 1


def exponential(draw: BaseDraw, by_probs: bool) -> tuple[Tensor, Tensor]:
    coefficient = -1 / draw.detached[0]
    return coefficient.expand_as(draw.value), draw.value + another(draw)


# Families of one parameter: the coefficient and the draw's other value.
Single = Callable[[BaseDraw, bool], tuple[Tensor, Tensor]]
SINGLE: dict[Callable[..., Distribution], Single] = {
    Binomial: binomial,
    Geometric: geometric,
    Poisson: poisson,
    Exponential: exponential,
}


def another(draw: BaseDraw) -> Tensor:
    """An independent draw of the same distribution."""
    lead = draw.value.shape[: draw.value.dim() - draw.parameters[0].dim()]
    return draw.family.noise(draw.detached, lead)


def normal(draw: BaseDraw, needed: Sequence[bool]) -> Iterator[WeakDerivative]:
    """Mean: Rayleigh steps up and down. Scale: a double-sided Maxwell draw against the Normal draw itself.

    A Maxwell draw times a uniform is Normal, so that given the Normal noise e the Maxwell one is
    sign(e) sqrt(e^2 + 2 E), with E exponential: the two sides share all that they can.
    """
    loc, scale = draw.detached
    noise = draw.noise
    exponential = torch.empty_like(noise).exponential_()
    if needed[0]:
        step = scale * (2 * exponential).sqrt()
        coefficient = (1 / (math.sqrt(2 * math.pi) * scale)).expand_as(noise)
        yield WeakDerivative(0, coefficient, loc + step, loc - step)
    if needed[1]:
        maxwell = noise.sign() * (noise.square() + 2 * exponential).sqrt()
        yield WeakDerivative(1, (1 / scale).expand_as(noise), loc + scale * maxwell)


def gamma(draw: BaseDraw, needed: Sequence[bool]) -> Iterator[WeakDerivative]:
    concentration, rate = draw.detached
    if needed[0]:
        constant, *sides = concentration_derivative(concentration, draw.value.shape)
        plus, minus = (inside(log.exp() / rate, draw) for log in sides)
        yield WeakDerivative(0, constant.to(plus.dtype).expand_as(plus), plus, minus)
    if needed[1]:
        more = draw.value + torch.empty_like(draw.value).exponential_() / rate
        yield WeakDerivative(1, -(concentration / rate).expand_as(more), more)


def beta(draw: BaseDraw, needed: Sequence[bool]) -> Iterator[WeakDerivative]:
    """x = G / (G + H): one of the Gamma draws takes its two values, the other is drawn once for both."""
    for number, sign in enumerate((1, -1)):
        if needed[number]:
            own, other = draw.detached[number], draw.detached[1 - number]
            constant, *sides = concentration_derivative(own, draw.value.shape)
            log_other = log_gamma_sample(other, draw.value.shape)
            plus, minus = (inside((sign * (log - log_other)).sigmoid(), draw) for log in sides)
            yield WeakDerivative(number, constant.to(plus.dtype).expand_as(plus), plus, minus)


def inside(value: Tensor, draw: BaseDraw) -> Tensor:
    """A value in the draw's precision, clear of the ends of its support, as torch's own draws are."""
    limits = torch.finfo(draw.value.dtype)
    value = value.to(draw.value.dtype).clamp_min(limits.tiny)
    family = draw.family
    bounded = isinstance(family, SampleIsNoise) and family.distribution is Beta
    return value.clamp_max(1 - limits.eps / 2) if bounded else value
