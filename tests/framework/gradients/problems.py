"""The problems whose gradient is known in closed form, and the one rule by which estimates are compared with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from experiments import problems
from experiments.problems import Problem, problem
from framework.gradients.registered import make_estimator
from framework.randomness import seeded

PROBLEMS = {n: p for n, p in problems.PROBLEMS.items() if p.group == "closed_forms"}

__all__ = ["PROBLEMS", "Problem", "assert_unbiased", "gradients", "problem"]


def gradients(
    problem: Problem,
    estimator: str,
    *,
    repeats: int = 50,
    samples: int = 256,
    seed: int = 0,
    **options,
) -> dict[str, Tensor]:
    """`repeats` independent gradient estimates by one estimator object: `[repeats, *parameter]` for each parameter."""
    found: dict[str, list[Tensor]] = {name: [] for name in problem.parameters}
    chosen = make_estimator(estimator, samples, options)
    leaves = {name: p.clone().requires_grad_() for name, p in problem.parameters.items()}
    with seeded(seed):
        for _ in range(repeats):
            for leaf in leaves.values():
                leaf.grad = None
            chosen.backward(problem.program, leaves, problem.batch)
            for name, leaf in leaves.items():
                found[name].append(leaf.grad.clone())  # type: ignore[union-attr]
    return {name: torch.stack(each) for name, each in found.items()}


def assert_unbiased(
    found: dict[str, Tensor], true: dict[str, Tensor], *, tolerance: float = 1e-3
) -> None:
    """The rule: the mean of the estimates is within the tolerance, or within 4 standard errors, of the truth."""
    for name, estimates in found.items():
        difference = (estimates.mean(0) - true[name]).abs()
        error = estimates.std(0) / math.sqrt(len(estimates))
        fine = (difference < tolerance) | (difference < 4 * error)
        assert fine.all(), (
            f"{name}: mean {estimates.mean(0).tolist()}, true {true[name].tolist()}, "
            f"z {(difference / error).tolist()}"
        )
