"""The weak derivative of a Gamma draw with respect to its concentration: its constant and its two laws.

With p the density of Gamma(a, 1) and psi the digamma function, dp/da = (log x - psi(a)) p. Its positive and its
negative part (the Hahn decomposition, Pflug 1996) have the same mass c, since dp/da integrates to 0:

    d E f(x) / da = c (E f(x+) - E f(x-)),    c = E max(log x - psi(a), 0)

Of t = |log x - psi(a)| the two parts have the densities t exp(a s t - e^psi(a) (e^(s t) - 1)), s = +1 and -1, up to a
factor. Both are log-concave. A log-concave density of maximum M at m lies below M min(1, exp(1 - M |t - m|)), from
which a quarter of all proposals is accepted, whatever the density (Devroye 1984). c is computed by quadrature.

A Beta draw is G / (G + H) for Gamma draws G and H of its two concentrations, so that it has the same derivative in
each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.gradients.distributions.implicit import legendre

# Halvings of a bracket: more would be below double precision.
BISECTIONS = 60
# Beyond this far below its maximum, in logarithms, a density has no mass in double precision.
NEGLIGIBLE = 40.0
SMALLEST = torch.finfo(torch.float64).tiny


@dataclass(eq=False)
class Side:
    """One part of the derivative of the density, as a function of t > 0.

    Attributes:
        sign: +1: draws above exp(psi(a)); -1: draws below it.
        concentration, centre: a and psi(a), in double precision.
        mode, peak: where the density is largest, and its logarithm there.
        mass: its integral, relative to its maximum.
    """

    sign: int
    concentration: Tensor
    centre: Tensor

    def __post_init__(self) -> None:
        a, middle = self.concentration, self.centre.exp()
        # Where the slope is certainly not positive.
        far = ((a + 1).log() - self.centre).clamp_min(1.0) if self.sign > 0 else 1 / (a - middle)
        self.mode = bisect(self.slope, torch.zeros_like(far), far)
        self.peak = self.log_density(self.mode)
        end = 2 * self.mode
        while bool((self.log_density(end) > self.peak - NEGLIGIBLE).any()):
            end = 2 * end
        end = bisect(lambda t: self.log_density(t) - self.peak + NEGLIGIBLE, self.mode, end)
        self.mass = self.integral(torch.zeros_like(end), self.mode)
        self.mass = self.mass + self.integral(self.mode, end)

    def log_density(self, t: Tensor) -> Tensor:
        return log_density(t, self.sign, self.concentration, self.centre)

    def slope(self, t: Tensor) -> Tensor:
        """The derivative of the log-density, which decreases."""
        return 1 / t + self.sign * (self.concentration - (self.centre + self.sign * t).exp())

    def integral(self, low: Tensor, high: Tensor) -> Tensor:
        """The density's integral from `low` to `high`, relative to its maximum."""
        points, weights = legendre(low.dtype, low.device)
        total = torch.zeros_like(low)
        for point, weight in zip(points, weights, strict=True):
            height = (self.log_density(low + (high - low) * point) - self.peak).exp()
            total = total + weight * height
        return (high - low) * total

    def sample(self, shape: torch.Size) -> Tensor:
        """log x `[*shape]`, which the parameters broadcast to."""
        parameters = (self.mode, self.peak, self.mass, self.concentration, self.centre)
        columns = torch.stack([parameter.expand(shape).reshape(-1) for parameter in parameters])
        drawn, waiting = torch.empty_like(columns[0]), torch.arange(columns.shape[1])
        waiting = waiting.to(drawn.device)
        while len(waiting):
            mode, peak, width, a, centre = columns[:, waiting]
            # Half of the hat is flat, the other half two exponential tails.
            flat, up, height, within = torch.rand(4, len(waiting), dtype=a.dtype, device=a.device)
            tail = torch.empty_like(within).exponential_()
            distance = torch.where(flat < 0.5, within, 1 + tail)
            t = mode + torch.where(up < 0.5, distance, -distance) * width
            hat = (1 - distance).clamp_max(0.0)
            density = log_density(t.clamp_min(SMALLEST), self.sign, a, centre)
            accepted = (t > 0) & (height.log() + hat <= density - peak)
            drawn[waiting[accepted]] = t[accepted]
            waiting = waiting[~accepted]
        return self.centre + self.sign * drawn.reshape(shape)


def log_density(t: Tensor, sign: int, concentration: Tensor, centre: Tensor) -> Tensor:
    """log t + a s t - e^psi(a) (e^(s t) - 1)."""
    return t.log() + concentration * sign * t - centre.exp() * (sign * t).expm1()


def concentration_derivative(
    concentration: Tensor, shape: torch.Size
) -> tuple[Tensor, Tensor, Tensor]:
    """c, shaped as the concentration, and log x+ and log x- `[*shape]`, all in double precision."""
    a = concentration.double()
    upper, lower = (Side(sign, a, a.digamma()) for sign in (1, -1))
    middle = a.digamma()
    # t exp(...) is the density of log x divided by its height at psi(a).
    height = (a * middle - middle.exp() - a.lgamma()).exp()
    constant = upper.mass * upper.peak.exp() * height
    return constant, upper.sample(shape), lower.sample(shape)


def log_gamma_sample(concentration: Tensor, shape: torch.Size) -> Tensor:
    """log x `[*shape]` of Gamma(a, 1) draws, in double precision: x itself is 0 to rounding where a is small.

    A Gamma(a + 1, 1) draw times u^(1/a) is a Gamma(a, 1) draw, u uniform.
    """
    a = concentration.double().expand(shape)
    return torch._standard_gamma(a + 1).log() - torch.empty_like(a).exponential_() / a


def bisect(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Where a decreasing function crosses 0, between `low` and `high`."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = function(middle) > 0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (low + high) / 2
