"""One cell of the table: what an estimator makes of a problem whose gradient is known.

The rule: an estimate holds where the mean of its repeats is within `TOLERANCE` or within 4 standard errors of the
truth, in every element of the gradient and in the objective. Of thousands of elements a few are beyond 4 by chance, and
those of heavy tails more: nothing is called wrong that four times as many repeats from another seed do not show again,
in the same element and in the same direction.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from experiments.problems import Problem
from framework import UserError, estimate
from framework.gradients.registered import make_estimator
from framework.randomness import key, seeded

Verdict = Literal["holds", "declared", "refused", "wrong", "error"]
MEANING: dict[Verdict, str] = {
    "holds": "unbiased, as it says",
    "declared": "biased or not finite, and says so",
    "refused": "refused, in one line",
    "wrong": "SILENTLY WRONG",
    "error": "a raw error",
}
# Of the truth's size and 1: what single precision leaves.
TOLERANCE = 2e-4
SUSPICIOUS_Z = 4.0
SAMPLES, REPEATS = 32, 64
# Where a program runs once for each sample.
LOOP_SAMPLES, LOOP_REPEATS = 16, 32
# Estimates that are all alike are not repeated further.
ALIKE = 8


@dataclass(frozen=True)
class Cell:
    """A verdict with its figures.

    Attributes:
        detail: a refusal, an error, or what is off; empty where it holds.
        bias_z: the largest distance from the truth in standard errors, the smaller of two measurements where there were
            two; 0 within the tolerance, infinite where all estimates are alike and wrong.
        variance: of one estimate, summed over the gradient's elements.
        cpu_ms: of one estimate, on one thread.
    """

    problem: str
    estimator: str
    verdict: Verdict
    detail: str = ""
    bias_z: float = math.nan
    variance: float = math.nan
    cpu_ms: float = math.nan


@dataclass(frozen=True)
class Sample:
    """Repeated estimates `[repeats, P + 1]`: the gradient's elements and the objective.

    Attributes:
        biased: whether any of them declares a bias.
    """

    estimates: Tensor
    biased: bool
    cpu_ms: float

    def z(self, truth: Tensor) -> Tensor:
        """Standard errors from the truth `[P + 1]`, with their sign; 0 within the tolerance."""
        difference = self.estimates.mean(0) - truth
        error = self.estimates.std(0) / math.sqrt(len(self.estimates))
        within = difference.abs() <= TOLERANCE * truth.abs().clamp_min(1.0)
        return torch.where(within, 0.0, difference / error)

    @property
    def variance(self) -> float:
        return float(self.estimates[:, :-1].var(0).sum())


def judge(
    problem: Problem,
    estimator: str,
    *,
    seed: int = 0,
    samples: int | None = None,
    repeats: int | None = None,
) -> Cell:
    """Measure one cell; samples and repeats: by default the problem's, or the table's."""
    loop = problem.program.one_sample_at_a_time
    n = samples or problem.samples or (LOOP_SAMPLES if loop else SAMPLES)
    times = repeats or (LOOP_REPEATS if loop else REPEATS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return measured(problem, estimator, n, times, seed)
        except UserError as refusal:
            line = str(refusal)
            verdict: Verdict = "error" if "\n" in line else "refused"
            return Cell(problem.name, estimator, verdict, line)
        except Exception as error:
            line = f"{type(error).__name__}: {error}".partition("\n")[0]
            return Cell(problem.name, estimator, "error", line)


def measured(problem: Problem, estimator: str, n: int, repeats: int, seed: int) -> Cell:
    """The verdict of an estimator that gives a gradient.

    Raises:
        UserError: it does not serve the problem.
    """
    with seeded(key(seed, "first")):
        batch = problem.next_batch()
    # As a user calls it: what only the first call of a program finds out is found out here.
    first = estimate(
        problem.fresh_program(),
        problem.parameters,
        batch,
        estimator=estimator,
        samples=n,
        seed=seed,
    )
    truth = truth_of(problem)
    found = sample(problem, estimator, n, repeats, seed)
    bad = int((~found.estimates.isfinite().all(1)).sum())
    if first.not_finite or bad:
        detail = first.not_finite or f"not finite in {bad} of {len(found.estimates)} estimates"
        return Cell(problem.name, estimator, "declared", detail, cpu_ms=found.cpu_ms)
    z = found.z(truth)
    biased, worst = first.biased or found.biased, float(z.abs().max())
    off = ""
    if worst > SUSPICIOUS_Z and not biased:
        again = sample(problem, estimator, n, 4 * repeats, key(seed, "again"), stop=False)
        twice = torch.where(
            z * again.z(truth) > 0, torch.minimum(z.abs(), again.z(truth).abs()), 0.0
        )
        worst = float(twice.max())
        off = difference(again, truth, int(twice.argmax()))
    verdict: Verdict = "declared" if biased else "wrong" if not worst <= SUSPICIOUS_Z else "holds"
    detail = off if verdict == "wrong" else ""
    return Cell(problem.name, estimator, verdict, detail, worst, found.variance, found.cpu_ms)


def difference(found: Sample, truth: Tensor, element: int) -> str:
    """What is off, in words."""
    what = "value" if element == len(truth) - 1 else f"gradient element {element}"
    return f"{what} {found.estimates[:, element].mean():.4g}, true {truth[element]:.4g}"


def truth_of(problem: Problem) -> Tensor:
    """The true gradient's elements and the true objective, `[P + 1]`."""
    parts = [gradient.reshape(-1).double() for gradient in problem.gradients().values()]
    return torch.cat([*parts, torch.tensor([problem.value()]).double()])


def sample(
    problem: Problem, estimator: str, n: int, repeats: int, seed: int, *, stop: bool = True
) -> Sample:
    """Repeated estimates by one estimator object, fewer where they are all alike and `stop` is set."""
    rows: list[Tensor] = []
    biased = False
    began = time.process_time()
    for row, declared in estimates(problem, estimator, n, seed):
        rows.append(row)
        biased |= declared
        alike = stop and len(rows) == ALIKE and all(torch.equal(r, rows[0]) for r in rows)
        if alike or len(rows) == repeats:
            break
    cpu_ms = 1e3 * (time.process_time() - began) / len(rows)
    return Sample(torch.stack(rows), biased, cpu_ms)


def estimates(problem: Problem, estimator: str, n: int, seed: int) -> Iterator[tuple[Tensor, bool]]:
    """Estimates `[P + 1]` without end, and whether each declares that it is biased."""
    chosen, program = make_estimator(estimator, n), problem.fresh_program()
    leaves = {name: p.clone().requires_grad_() for name, p in problem.parameters.items()}
    number = 0
    while True:
        with seeded(key(seed, "table", number)):
            for leaf in leaves.values():
                leaf.grad = None
            found = chosen.backward(program, leaves, problem.next_batch())
        parts = [
            torch.zeros(p.numel()).double() if p.grad is None else p.grad.reshape(-1).double()
            for p in leaves.values()
        ]
        yield torch.cat([*parts, found.objective.reshape(1).double()]), found.biased
        number += 1
