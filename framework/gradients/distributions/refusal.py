"""What an estimator says of a draw that it cannot serve, and which estimators can."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.distributions import Distribution, Independent, TransformedDistribution

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.gradients.distributions.implicit import IMPLICIT, has_path
from framework.gradients.distributions.noise_families import base_of
from framework.parameters import Parameters
from framework.program import Program
from framework.randomness import seeded
from framework.recording.derivatives import has_derivative
from framework.recording.rule import Plain
from framework.recording.trace import Trace

# The draws that a relaxation gives values between their own.
RELAXED = ({"Bernoulli", "finite"}, {"OneHotCategorical", "finite"})


def refuse(site: str, distribution: Distribution, estimator: str, serves: str) -> ProgramError:
    """The error of an estimator that cannot serve a draw, with those that can."""
    kind = type(base_of(distribution)).__name__
    return ProgramError(
        f"draw '{site}' ~ {kind}: {estimator} serves {serves}; {others(estimator, distribution)}"
    )


def others(estimator: str, *distributions: Distribution, **needs: Any) -> str:
    """The end of a refusal: other estimators that can serve all of these draws (needs: see `Capabilities.serves`)."""
    return alternatives([*map(families, distributions)], without=estimator, **needs)


def refuse_bounds(trace: Trace, estimator: str) -> None:
    """For estimators that compare the samples' own costs.

    Raises:
        ProgramError: the program has a multi-sample bound, whose samples have no costs of their own.
    """
    if trace.bounds:
        distributions = [draw.distribution for draw in trace.draws]
        raise ProgramError(
            f"'{estimator}' needs each sample's own cost, and bound '{trace.bounds[0].name}' is made of all samples "
            f"together; {others(estimator, *distributions, multi_sample_bounds=True)}"
        )


class Look(Plain):
    """Draws, and takes draws that were made earlier as they are."""

    scored = True


@torch.no_grad()
def distributions_of(program: Program, parameters: Parameters, batch: Any) -> list[Distribution]:
    """What a program draws from in a run of one sample, which leaves the random generators where they were."""
    with seeded(0):
        traces = replace(program, checked=False).run(lambda site: Look(), parameters, batch)
    return [draw.distribution for trace in traces for draw in trace.draws]


def families(distribution: Distribution) -> set[str]:
    """The families to which a draw belongs, in the words of `Capabilities.draws`."""
    base = base_of(distribution)
    found = {type(base).__name__}
    if base.has_enumerate_support:
        found.add("finite")
    if has_path(distribution):
        found.add("path")
        if not moves_implicitly(innermost(distribution)):
            found.add("forward path")
    return found


def moves_implicitly(distribution: Distribution) -> bool:
    """Whether a parameter varies that torch differentiates implicitly, which it cannot do forwards."""
    return any(
        isinstance(distribution, kind)
        and any(has_derivative(getattr(distribution, n)) for n in names)
        for kind, names in IMPLICIT.items()
    )


def innermost(distribution: Distribution) -> Distribution:
    """The distribution inside any number of `Independent` and transformations."""
    while isinstance(distribution, Independent | TransformedDistribution):
        distribution = distribution.base_dist
    return distribution
