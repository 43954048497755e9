"""Which estimators serve an objective, and how good each is there: `framework.check`, `diffobj check FILE.py:function`.

Each estimator is measured on the objective itself: bias against the best reference, the interval of its bias by two
references, variance, CPU time, and its slope along a random direction against central differences of the objective.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from framework.arguments import as_count, as_names
from framework.errors import ProgramError, UserError
from framework.gradients.estimate import estimate, leaves_of
from framework.gradients.estimator import Estimator
from framework.gradients.numerical import FiniteDifference
from framework.gradients.registered import make_estimator
from framework.gradients.selection.automatic import SUSPICIOUS_Z
from framework.gradients.selection.comparison import (
    Against,
    directions_along,
    figures,
    references,
)
from framework.gradients.selection.quality import Quality, sample_gradients
from framework.gradients.selection.zero_gradient import cause
from framework.parameters import Given, Parameters
from framework.plugin import registry
from framework.program import Function, Program, as_program
from framework.randomness import checked_seed, generator, key, seeded

STEP = 0.02
# What a step of this size may leave of the slope's size.
STEP_ERROR = 0.02


@dataclass(frozen=True)
class EstimatorCheck:
    """What one estimator makes of the objective.

    Attributes:
        refused: why it does not serve it, in one line; empty where it does.
        wrong: what is wrong though it says that it is unbiased, or a raw error; empty where nothing is.
        quality: bias z, interval, variance; None where it gave no gradient.
        cpu_ms: CPU time of one estimate.
        slope_z: its slope along a random direction less that of finite differences, in standard errors.
    """

    estimator: str
    refused: str = ""
    wrong: str = ""
    quality: Quality | None = None
    cpu_ms: float = math.nan
    slope_z: float = math.nan

    @property
    def verdict(self) -> str:
        if self.refused:
            return f"refused: {self.refused}"
        if self.wrong:
            return f"WRONG: {self.wrong}"
        return "biased, as it says" if self.quality is not None and self.quality.biased else "ok"


@dataclass(frozen=True)
class ObjectiveCheck:
    """The table: `rows` in the registry's order; `str()` prints it.

    Attributes:
        value: the objective, by the best reference or the first estimator that serves it.
        reference: what the bias is measured against.
        no_gradient: why no gradient reaches a parameter; empty where one does, or one run does not tell why.
    """

    value: float
    reference: str
    rows: list[EstimatorCheck] = field(default_factory=list)
    no_gradient: str = ""

    @cached_property
    def ok(self) -> bool:
        """Whether it has a gradient, an estimator serves it, and none is wrong without saying so."""
        served = any(row.quality is not None and not row.wrong for row in self.rows)
        return served and not self.no_gradient and not any(row.wrong for row in self.rows)

    def __str__(self) -> str:
        heads = ["estimator", "bias z", "bias (99 %)", "variance", "CPU-ms", "differences z", ""]
        served = [row for row in self.rows if row.quality is not None]
        table = [heads, *(cells(row) for row in served)]
        widths = [max(len(line[i]) for line in table) for i in range(len(heads))]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in table
        ]
        rest = [f"{row.estimator}: {row.verdict}" for row in self.rows if row.quality is None]
        head = f"objective {self.value:.4g}; bias against: {self.reference or 'no reference serves it'}"
        last = f"\n\nno gradient: {self.no_gradient}" if self.no_gradient else ""
        return "\n".join([head, "", *lines, "", *rest]).rstrip() + last


def cells(row: EstimatorCheck) -> list[str]:
    quality = row.quality
    assert quality is not None
    low, high = quality.bias_low, quality.bias_high
    interval = "" if math.isnan(low) else f"{low:+.1%} to {high:+.1%}"
    numbers = [quality.bias_z, quality.variance, row.cpu_ms, row.slope_z]
    z, variance, ms, slope = ("" if math.isnan(v) else f"{v:.3g}" for v in numbers)
    return [row.estimator, z, interval, variance, ms, slope, row.verdict]


def check(
    program: Function | Program,
    parameters: Given,
    batch: Any = None,
    *,
    estimators: Sequence[str] | None = None,
    samples: int = 64,
    repeats: int = 32,
    seed: int = 0,
) -> ObjectiveCheck:
    """Try every estimator on an objective: who serves it, bias, variance, cost, agreement with finite differences.

    Args:
        program, parameters, batch: as in `framework.estimate`.
        estimators: their names; None: all that are registered.
        samples: n, for estimators that sample.
        repeats: estimates from which each estimator's bias and variance are measured, 4 or more.

    Raises:
        UserError: an unknown estimator; too few repeats; a seed that is no whole number.
        ProgramError: parameters that are not tensors of real numbers.
    """
    as_count("repeats", repeats, 4)
    seed = checked_seed(seed)
    known = registry().names("estimators")
    names = known if estimators is None else as_names("estimators", estimators, "rloo")
    made = {name: make_estimator(name, samples) for name in names}
    leaves = leaves_of(parameters)
    measured = Measurement(as_program(program), leaves, batch, samples, repeats, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [measured.row(name, estimator) for name, estimator in made.items()]
    why = cause(measured.program, leaves, batch)
    return ObjectiveCheck(measured.value, measured.source, rows, why)


@dataclass(frozen=True)
class Slopes:
    """The objective's slopes by finite differences, `[R]`, along a direction `[P]`; NaN where there are none."""

    direction: Tensor
    values: Tensor

    def disagreement(self, found: Tensor) -> float:
        """How far estimates' slopes `[K]` are from these in standard errors, the step's own error included."""
        a, b = found.double(), self.values
        # Differences that are all 0 have seen none of the draws that would turn.
        if not a.isfinite().all() or not b.isfinite().all() or not b.any():
            return math.nan
        error = a.var() / len(a) + b.var() / len(b) + (STEP_ERROR * b.mean()) ** 2
        return float((a.mean() - b.mean()).abs() / (error.sqrt() + 1e-6))


class Measurement:
    """One objective, and what every estimator is compared with; each reference is measured once, when first needed."""

    def __init__(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any,
        samples: int,
        repeats: int,
        seed: int,
    ) -> None:
        self.program, self.parameters, self.batch = program, parameters, batch
        self.samples = samples
        self.repeats, self.seed = repeats, seed
        self.value, self.source = math.nan, ""
        # By seed.
        self.references: dict[int, Callable[[str, Estimator], Against]] = {}
        self.slopes: dict[int, Slopes] = {}

    def row(self, name: str, estimator: Estimator) -> EstimatorCheck:
        """Measure one estimator; where it seems wrong, again from another seed before saying so."""
        try:
            found = self.measure(name, estimator, self.seed)
            if found.wrong:
                again = self.measure(name, estimator, key(self.seed, "again"))
                found = again if not again.wrong else found
        except UserError as refusal:
            return EstimatorCheck(name, refused=str(refusal).partition("; estimators that")[0])
        except Exception as error:
            # The user's own program raised it, or torch within an estimator.
            line = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
            return EstimatorCheck(name, wrong=line)
        return found

    def measure(self, name: str, estimator: Estimator, seed: int) -> EstimatorCheck:
        """The figures of one estimator from one seed.

        Raises:
            UserError: it does not serve the objective.
        """
        # As a user calls it: what only a program's first call finds out, and refusals, come before any measurement.
        first = estimate(
            self.program,
            self.parameters,
            self.batch,
            estimator=name,
            samples=self.samples,
            seed=seed,
        )
        if math.isnan(self.value):
            self.value = first.value
        if seed not in self.references:
            self.references[seed] = references(self.program, self.parameters, self.batch, seed)
            self.slopes[seed] = self.differences(seed)
        against, stick = self.references[seed](name, estimator)
        self.source = self.source or ("" if against is None else against.source)
        directions = directions_along(against, stick)
        directions.append(self.slopes[seed].direction.unsqueeze(0))
        began = time.process_time()
        found = sample_gradients(
            estimator,
            self.program,
            self.parameters,
            lambda number: self.batch,
            repeats=self.repeats,
            seed=key(seed, "estimates"),
            directions=torch.cat(directions),
        )
        cpu_ms = 1e3 * (time.process_time() - began) / self.repeats
        quality = figures(found, against, stick)
        quality = replace(quality, biased=quality.biased or first.biased)
        slope_z = self.slopes[seed].disagreement(found.projections[:, -1])
        return EstimatorCheck(name, "", what_is_wrong(quality, slope_z), quality, cpu_ms, slope_z)

    def differences(self, seed: int) -> Slopes:
        """The objective's slopes along a random direction by central differences with common random numbers."""
        numerical = FiniteDifference(samples=256)
        random = generator(seed, "direction")
        size = sum(p.numel() for p in self.parameters.values())
        direction = torch.randn(size, generator=random, dtype=torch.double)
        direction = direction / direction.norm()
        parts, at = {}, 0
        for name, p in self.parameters.items():
            part = direction[at : at + p.numel()].reshape(p.shape)
            parts[name], at = part.to(p), at + p.numel()
        slopes = []
        try:
            for number in range(self.repeats):
                with seeded(key(seed, "difference", number)):
                    evaluate = numerical.evaluator(self.program, self.parameters, self.batch)
                    sides = (
                        {n: p.detach() + h * parts[n] for n, p in self.parameters.items()}
                        for h in (STEP, -STEP)
                    )
                    up, down = evaluate(sides, 2)
                slopes.append(float(up - down) / (2 * STEP))
        except (ProgramError, ValueError, RuntimeError):
            # Recorded episodes, or a step that leaves a parameter's domain.
            slopes = [math.nan]
        kind = next(iter(self.parameters.values()))
        return Slopes(direction.to(kind), torch.tensor(slopes, dtype=torch.double))


def what_is_wrong(quality: Quality, slope_z: float) -> str:
    """What is wrong with an estimator that says it is unbiased; empty where nothing is."""
    if not math.isfinite(quality.variance):
        return "its gradient or the objective is not finite"
    if quality.biased:
        return ""
    if quality.bias_z > SUSPICIOUS_Z:
        return f"its mean is {quality.bias_z:.1f} standard errors off the reference"
    if slope_z > SUSPICIOUS_Z:
        return f"its slope is {slope_z:.1f} standard errors off finite differences"
    return ""
