"""How good an estimator is, here and now: variance, signal-to-noise, cost, and bias against the best reference.

From K repeated estimates g_1 ... g_K of one gradient, and a reference r,

    variance            sum over parameters of the sample variance of g
    signal to noise     |mean g|^2 / variance, corrected for the noise in the mean
    variance x seconds  the figure for a comparison at equal time: halving the variance may cost twice the time
    cosine, norm ratio  of the mean of g to r
    bias z              the largest of |mean <g, u> - <r, u>| in standard errors, along r and a few random directions u
    bias interval       where mean <g, u> / <r, u> - 1 lies along r, from two references; see bias_interval.py

Bias matters more than variance, and a cosine near 1 does not show it: a straight-through gradient was once 230 times
too long with a mean cosine of 0.96. So z and the norm ratio are always reported.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from framework.errors import ProgramError
from framework.gradients.enumeration.exact import Exact
from framework.gradients.estimator import Estimator, trainable
from framework.gradients.score_function import ScoreFunction, rloo
from framework.parameters import Parameters
from framework.program import Program
from framework.randomness import generator, key, seed_torch, seeded

# The batch of repeat number k.
Batches = Callable[[int], Any]
RANDOM_DIRECTIONS = 3
# Of a tree of draws: each is a separate run, and a measurement must not take longer than the training.
LEAVES = 256


@dataclass(frozen=True)
class GradientSample:
    """A summary of repeated estimates of one gradient.

    Attributes:
        mean: `[P]`, all parameters in one vector.
        variance: of a single estimate, summed over the parameters; NaN where a gradient or an objective was not finite.
        projections: `[K, D]`, each estimate along D directions.
        seconds: of one estimate, the shortest: time that other processes took is not the estimator's.
        evaluations: of the objective, by one estimate.
        size: of the objective, the largest; a gradient is rounded in proportion to it, also where it is 0 itself.
    """

    mean: Tensor
    variance: float
    projections: Tensor
    seconds: float
    evaluations: int
    biased: bool
    size: float = 0.0

    @property
    def repeats(self) -> int:
        return len(self.projections)


@dataclass(frozen=True)
class Reference:
    """What estimates are compared with.

    Attributes:
        gradient: `[P]`.
        directions: `[D, P]`, along which bias is measured.
        errors: `[D]`, the gradient's own standard errors along them; 0 where it is exact.
        source: where it comes from.
        estimator: the name of the estimator that gave it.
    """

    gradient: Tensor
    directions: Tensor
    errors: Tensor
    source: str
    estimator: str


@dataclass(frozen=True)
class Quality:
    """The figures of one estimator; those against a reference are NaN where there is none.

    `bias_low` and `bias_high` are the ends of the 99 % interval for the relative bias; see bias_interval.py.
    """

    variance: float
    signal_to_noise: float
    seconds: float
    evaluations: int
    biased: bool
    cosine: float = math.nan
    norm_ratio: float = math.nan
    bias_z: float = math.nan
    bias_low: float = math.nan
    bias_high: float = math.nan

    @property
    def variance_times_seconds(self) -> float:
        return self.variance * self.seconds

    def scalars(self, prefix: str) -> dict[str, float]:
        """The figures by tag; what could not be measured is left out."""
        figures = {**vars(self), "variance_times_seconds": self.variance_times_seconds}
        return {f"{prefix}/{name}": float(v) for name, v in figures.items() if math.isfinite(v)}


def sample_gradients(
    estimator: Estimator,
    program: Program,
    parameters: Parameters,
    batches: Batches,
    *,
    repeats: int,
    seed: int,
    directions: Tensor | None = None,
) -> GradientSample:
    """Estimate the gradient `repeats` times from independent keyed streams.

    The estimator, the parameters' `.grad` and torch's generators are left as they were.
    """
    estimator = copy.deepcopy(estimator)
    leaves = {n: p.detach().clone().requires_grad_() for n, p in trainable(parameters).items()}
    given = {**parameters, **leaves}
    mean, deviations, projections, seconds = torch.zeros(()), 0.0, [], []
    evaluations, biased, sizes = 0, False, [0.0]
    with seeded(key(seed, "quality")):
        for number in range(repeats):
            batch = batches(number)
            seed_torch(key(seed, "quality", number))
            for leaf in leaves.values():
                leaf.grad = None
            began = time.perf_counter()
            estimate = estimator.backward(program, given, batch)
            seconds.append(time.perf_counter() - began)
            gradient = flat_gradient(leaves)
            # Welford's: a difference of squares would be rounding where estimates hardly differ.
            before = gradient - mean
            mean = mean + before / (number + 1)
            deviations += float((before * (gradient - mean)).sum())
            projections.append(project(directions, gradient))
            evaluations, biased = estimate.evaluations, estimate.biased
            sizes.append(abs(float(estimate.objective)))
    size = math.nan if any(map(math.isnan, sizes)) else max(sizes)
    # A single estimate has no variance, nor has one that is not a number.
    variance = (
        max(deviations / (repeats - 1), 0.0) if repeats > 1 and math.isfinite(size) else math.nan
    )
    return GradientSample(
        mean, variance, torch.stack(projections), min(seconds), evaluations, biased, size
    )


def reference(
    program: Program,
    parameters: Parameters,
    batch: Any,
    *,
    seed: int,
    samples: int = 512,
    repeats: int = 8,
    samples_per_bound: int | None = None,
    without: str = "",
) -> Reference | None:
    """The gradient by enumeration where that is feasible, else by a large unbiased sample of the score function.

    `without` names the estimator that is to be assessed, "exact" or "rloo", which cannot be its own reference.

    A multi-sample bound is another objective for another n: its sample consists of many small ones of
    `samples_per_bound` samples, the number that the estimators to be assessed take.

    Returns:
        the reference; None where neither serves the program or gives a finite gradient.
    """
    # A large sample of recorded episodes would have to be played.
    if program.recorded_trajectories:
        return None
    enumerated = None if without == "exact" else exact_reference(program, parameters, batch, seed)
    if enumerated is not None or without == "rloo":
        return enumerated
    nothing = torch.zeros_like(flat_gradient(trainable(parameters)))
    try:
        if charges_bound(program, parameters, batch):
            if samples_per_bound is None or samples_per_bound < 2:
                return None
            repeats = max(repeats, min(64, samples * repeats // samples_per_bound))
            samples = samples_per_bound
        large, random = rloo(samples=samples), probe_directions(nothing, seed)[1:]
        found = sample_gradients(
            large,
            program,
            parameters,
            lambda n: batch,
            repeats=repeats,
            seed=seed,
            directions=random,
        )
    except ProgramError:
        return None
    # Estimates that are all alike have not seen what is rare, and say nothing of their own error.
    alike = bool((found.projections == found.projections[0]).all())
    if alike or not math.isfinite(found.variance):
        return None
    directions = probe_directions(found.mean, seed)
    # An upper bound: the error along one direction is a part of the whole.
    along = math.sqrt(found.variance / repeats)
    errors = torch.cat(
        [directions.new_tensor([along]), found.projections.std(0) / math.sqrt(repeats)]
    )
    return Reference(found.mean, directions, errors, f"rloo, {samples * repeats} samples", "rloo")


def exact_reference(
    program: Program, parameters: Parameters, batch: Any, seed: int
) -> Reference | None:
    """The gradient by enumeration; None where that cannot serve the program, is biased or not finite."""
    exact = Exact(states=LEAVES) if program.one_sample_at_a_time else Exact()
    try:
        once = sample_gradients(
            exact, program, parameters, lambda number: batch, repeats=1, seed=seed
        )
    except ProgramError:
        return None
    if once.biased or not once.mean.isfinite().all():
        return None
    directions = probe_directions(once.mean, seed)
    return Reference(once.mean, directions, directions.new_zeros(len(directions)), "exact", "exact")


def charges_bound(program: Program, parameters: Parameters, batch: Any) -> bool:
    """Whether the program charges a multi-sample bound, as a run of two samples shows."""
    with torch.no_grad(), seeded(0):
        traces = replace(program, checked=False).run(
            lambda site: ScoreFunction(), parameters, batch, samples=2
        )
    return any(trace.bounds for trace in traces)


def samples_of(estimator: Estimator) -> int | None:
    """An estimator's n, where it has one."""
    samples = getattr(estimator, "samples", None)
    return samples if isinstance(samples, int) else None


def assess(found: GradientSample, against: Reference | None) -> Quality:
    """The figures of a sample of estimates."""
    noise = found.variance / found.repeats
    signal = max(float(found.mean.square().sum()) - noise, 0.0)
    snr = math.inf if found.variance == 0 else signal / found.variance
    figures = Quality(found.variance, snr, found.seconds, found.evaluations, found.biased)
    if against is None:
        return figures
    truth, length = against.gradient, float(against.gradient.norm())
    mean_length = float(found.mean.norm())
    cosine = float(found.mean @ truth) / max(1e-30, length * mean_length)
    return Quality(
        found.variance,
        snr,
        found.seconds,
        found.evaluations,
        found.biased,
        cosine,
        mean_length / max(1e-30, length),
        bias_z(found, against),
    )


def bias_z(found: GradientSample, against: Reference) -> float:
    """How many standard errors the estimates' mean is off, in the worst of the probed directions."""
    expected = against.directions @ against.gradient
    mean = found.projections.mean(0)
    own = found.projections.var(0) / found.repeats if found.repeats > 1 else mean.new_zeros(())
    rounding = 1e-5 * float(against.gradient.norm()) + 1e-12
    if math.isfinite(found.size):
        rounding += torch.finfo(found.mean.dtype).eps * found.size
    error = (own + against.errors.square() + rounding**2).sqrt()
    return float(((mean - expected).abs() / error).max())


def probe_directions(gradient: Tensor, seed: int) -> Tensor:
    """The directions `[D, P]` along which bias is measured: the gradient's own, and a few random ones."""
    random = torch.randn(
        RANDOM_DIRECTIONS,
        len(gradient),
        generator=generator(seed, "directions"),
        dtype=gradient.dtype,
    )
    random = random / random.norm(dim=1, keepdim=True)
    own = gradient / gradient.norm().clamp_min(1e-30)
    return torch.cat([own.unsqueeze(0), random.to(gradient.device)])


def project(directions: Tensor | None, gradient: Tensor) -> Tensor:
    return torch.zeros(0) if directions is None else directions @ gradient


def flat_gradient(leaves: Parameters) -> Tensor:
    """All gradients in one vector; 0 where there is none."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in leaves.values()]
    return torch.cat([part.reshape(-1) for part in parts])


def measure(
    estimator: Estimator,
    program: Program,
    parameters: Parameters,
    batches: Batches,
    *,
    repeats: int = 16,
    seed: int = 0,
    against: Reference | None = None,
) -> Quality:
    """Sample an estimator's gradient and assess it."""
    directions = None if against is None else against.directions
    found = sample_gradients(
        estimator, program, parameters, batches, repeats=repeats, seed=seed, directions=directions
    )
    return assess(found, against)
