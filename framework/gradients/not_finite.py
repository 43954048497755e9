"""What is not finite in an estimate, and the cost or draw that it comes from, in one line."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from framework.errors import ProgramError
from framework.gradients.distributions.log_probability import log_probability_of_draw
from framework.gradients.distributions.refusal import Look
from framework.gradients.estimator import Estimate
from framework.parameters import Parameters
from framework.program import Program
from framework.randomness import seeded

# Of the run that looks for the source.
SAMPLES = 64


def what_is_not_finite(
    estimate: Estimate, program: Program, parameters: Parameters, batch: Any
) -> str:
    """One line on an objective or a gradient that is not finite; empty where all are finite.

    Only where there is one, the program is run again without a gradient to name its source.
    """
    objective = math.isfinite(float(estimate.objective))
    gradients = [n for n, p in parameters.items() if p.grad is not None and not finite(p.grad)]
    if objective and not gradients:
        return ""
    wrong = [] if objective else ["the objective"]
    wrong += [f"the gradient of '{name}'" for name in gradients]
    return f"not finite: {', '.join(wrong)}; {source(program, parameters, batch)}"


def source(program: Program, parameters: Parameters, batch: Any) -> str:
    """The first cost or log-probability of a run that is not finite."""
    with torch.no_grad(), seeded(0):
        try:
            traces = replace(program, checked=False).run(
                lambda site: Look(), parameters, batch, samples=SAMPLES
            )
        except ProgramError as error:
            return str(error)
        for trace in traces:
            for draw in trace.draws:
                try:
                    log_prob = log_probability_of_draw(draw.name, draw.distribution, draw.value)
                except ProgramError as error:
                    return str(error)
                if not finite(log_prob):
                    return f"the log-probability of draw '{draw.name}' is not: {share(log_prob)}"
            for cost in (*trace.costs, *trace.penalties, *trace.bounds):
                if not finite(cost.value):
                    return f"cost '{cost.name}' is not: {share(cost.value)}"
    return f"all costs and log-probabilities of {SAMPLES} samples are, a derivative is not"


def share(value: Tensor) -> str:
    """How many of a tensor's elements are not finite, and one of them."""
    wrong = value[~value.isfinite()]
    return f"{wrong.numel()} of {value.numel()} values, such as {float(wrong[0])}"


def finite(value: Tensor) -> bool:
    # A finite sum, the usual case, tells at the least cost; one that is not may have overflowed.
    return math.isfinite(float(value.detach().sum())) or bool(value.isfinite().all())
