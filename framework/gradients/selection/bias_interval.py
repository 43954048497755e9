"""A confidence interval for an estimator's bias, from two references neither of which is the estimator itself.

The bias is relative, along the gradient: with u the gradient's direction, g the estimate and r the truth,

    bias = E<g, u> / <r, u> - 1

0 for an unbiased estimator, -1 for one that sees nothing, 229 for a gradient 230 times too long. u comes from a
sample of its own, so that it depends on neither g nor r. Against one reference the interval is Fieller's (1954) for the
ratio of two means, with Welch's degrees of freedom; where the reference may be 0 it has no ends. What is
reported is the smallest interval that holds both references' intervals: it covers the bias with at least the stated
confidence if either reference is right, and `agree` says whether the two overlap.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from framework.errors import ProgramError
from framework.gradients.estimator import Estimator, trainable
from framework.gradients.registered import make_estimator
from framework.gradients.selection.quality import (
    GradientSample,
    charges_bound,
    exact_reference,
    sample_gradients,
    samples_of,
)
from framework.parameters import Parameters
from framework.program import Program
from framework.randomness import key

CONFIDENCE = 0.99
# Sampled references, tried in this order; each must serve the program and say that it is unbiased.
SAMPLED = ("rloo", "measure_valued", "disarm", "reparameterisation", "reinforce")
# One that runs the program twice for each parameter, but trusts no path, serves up to this many parameters.
MOST_PARAMETERS = 16
# Two names of one estimator.
SAME = {"vimco": "rloo"}
SAMPLES, REPEATS, PILOT = 256, 8, 4


@dataclass(frozen=True)
class BiasInterval:
    """Where the relative bias lies, with 99 % confidence.

    Attributes:
        low, high: a part of the gradient's length; infinite where by the references the gradient may be 0.
        references: the names of the two.
        agree: whether the intervals by the two overlap.
    """

    low: float
    high: float
    references: tuple[str, str]
    agree: bool = True

    def __str__(self) -> str:
        return f"{self.low:+.2%} to {self.high:+.2%}{'' if self.agree else ', references disagree'}"


@dataclass(frozen=True)
class Yardstick:
    """Two references along one direction.

    Attributes:
        direction: `[P]`, of length 1.
        along: each reference's projections on it, `[R]`, one value where it is exact, by name.
    """

    direction: Tensor
    along: dict[str, Tensor]

    def interval(self, projections: Tensor) -> BiasInterval:
        """The bias of an estimator from its estimates' projections on the direction, `[K]`, K at least 2."""
        first, second = (ratio_interval(projections, r) for r in self.along.values())
        one, other = self.along
        agree = first[0] <= second[1] and second[0] <= first[1]
        low, high = min(first[0], second[0]), max(first[1], second[1])
        return BiasInterval(low - 1, high - 1, (one, other), agree)


def bias_interval(
    estimator: Estimator,
    program: Program,
    parameters: Parameters,
    batch: Any = None,
    *,
    without: str,
    seed: int,
    repeats: int = 32,
) -> BiasInterval | None:
    """Measure the estimator, registered as `without`, against two others; None where there are no two."""
    stick = yardstick(
        program,
        parameters,
        batch,
        seed=seed,
        without=without,
        samples_per_bound=samples_of(estimator),
    )
    if stick is None:
        return None
    found = sample_gradients(
        estimator,
        program,
        parameters,
        lambda number: batch,
        repeats=repeats,
        seed=key(seed, "estimator"),
        directions=stick.direction.unsqueeze(0),
    )
    return stick.interval(found.projections[:, 0])


def yardstick(
    program: Program,
    parameters: Parameters,
    batch: Any,
    *,
    seed: int,
    without: str = "",
    samples_per_bound: int | None = None,
) -> Yardstick | None:
    """Two references, neither of which is the estimator `without`; None where no two serve the program.

    Enumeration where it is feasible, then sampled estimators. A multi-sample bound is another objective for another n:
    its references take `samples_per_bound`. Recorded episodes are themselves the randomness: they have no reference.
    """
    samples = samples_of_references(program, parameters, batch, samples_per_bound)
    if samples is None:
        return None
    barred = {without, SAME.get(without, without)}
    sampled = SampledReferences(program, parameters, batch, samples, seed)
    exact = None if "exact" in barred else exact_reference(program, parameters, batch, seed)
    along: dict[str, Tensor] = {}
    direction = None
    if exact is not None:
        direction = unit(exact.gradient)
        along["exact"] = (exact.gradient @ direction).reshape(1)
    for name in candidates(parameters, barred):
        if len(along) == 2:
            break
        # It does not serve the program, or not as a reference: the next one may.
        with suppress(ProgramError, NotImplementedError):
            if direction is None:
                pilot = sampled.estimates(name, "pilot of", PILOT).mean
                if not pilot.any():
                    continue
                direction = unit(pilot)
            found = sampled.estimates(name, "reference by", REPEATS, direction.unsqueeze(0))
            along[name] = found.projections[:, 0]
    if direction is None or len(along) < 2:
        return None
    return Yardstick(direction, along)


def samples_of_references(
    program: Program, parameters: Parameters, batch: Any, samples_per_bound: int | None
) -> int | None:
    """How many samples sampled references take; None: the program has no references."""
    if program.recorded_trajectories:
        return None
    if not charges_bound(program, parameters, batch):
        return SAMPLES
    return samples_per_bound if samples_per_bound is not None and samples_per_bound > 1 else None


@dataclass(frozen=True)
class SampledReferences:
    """Estimates of one program by registered estimators of `samples` samples."""

    program: Program
    parameters: Parameters
    batch: Any
    samples: int
    seed: int

    def estimates(
        self, name: str, use: str, repeats: int, directions: Tensor | None = None
    ) -> GradientSample:
        """Repeated estimates by one of them.

        Raises:
            ProgramError: it does not serve the program, or is biased or not finite.
        """
        found = sample_gradients(
            make_estimator(name, self.samples),
            self.program,
            self.parameters,
            lambda number: self.batch,
            repeats=repeats,
            seed=key(self.seed, f"{use} {name}"),
            directions=directions,
        )
        if found.biased or not math.isfinite(found.variance):
            raise ProgramError(f"'{name}' is biased or not finite")
        return found


def candidates(parameters: Parameters, barred: Collection[str]) -> list[str]:
    """The sampled references to try, in order."""
    size = sum(p.numel() for p in trainable(parameters).values())
    few = size <= MOST_PARAMETERS
    return [n for n in SAMPLED if n not in barred and (few or n != "measure_valued")]


def unit(gradient: Tensor) -> Tensor:
    """A gradient's direction; 0 where it is 0."""
    length: Tensor = gradient.norm().clamp_min(1e-30)
    return gradient / length


def ratio_interval(
    above: Tensor, below: Tensor, *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Fieller's interval for the ratio of the means of two independent samples `[K]` and `[R]`; a single value of
    `below` is exact. Unbounded where the mean of `below` may be 0.
    """
    x, y = float(above.double().mean()), float(below.double().mean())
    v = float(above.double().var()) / len(above)
    w = float(below.double().var()) / len(below) if len(below) > 1 else 0.0
    # Rounding is not an error of the estimator.
    rounding = 1e-5 * max(abs(x), abs(y))
    v += rounding**2
    t = student_quantile((1 + confidence) / 2, degrees(v, len(above), w, len(below)))
    a, b, c = y**2 - t**2 * w, x * y, x**2 - t**2 * v
    if a <= 0:
        return -math.inf, math.inf
    spread = math.sqrt(max(0.0, b**2 - a * c))
    return (b - spread) / a, (b + spread) / a


def degrees(v: float, k: int, w: float, r: int) -> float:
    """Welch's degrees of freedom of the difference of two means with squared errors v and w."""
    parts = v**2 / (k - 1) + (w**2 / (r - 1) if r > 1 else 0.0)
    return (v + w) ** 2 / parts if parts > 0 else math.inf


def student_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Student's t quantile above the median, by integrating the density up to 200."""
    if math.isinf(degrees_of_freedom):
        return float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(probability)))
    n, t = degrees_of_freedom, torch.linspace(0, 200, 40_001, dtype=torch.double)
    log_scale = math.lgamma((n + 1) / 2) - math.lgamma(n / 2) - 0.5 * math.log(n * math.pi)
    density = (log_scale - (n + 1) / 2 * torch.log1p(t**2 / n)).exp()
    beyond = torch.cumulative_trapezoid(density, t)
    return float(t[1 + int(torch.searchsorted(beyond, probability - 0.5))])
