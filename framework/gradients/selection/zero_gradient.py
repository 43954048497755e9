"""Why a gradient is exactly zero, as far as one run of the objective shows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from framework.gradients.score_function import ScoreFunction
from framework.parameters import Parameters
from framework.program import Program
from framework.randomness import seeded
from framework.recording.trace import Cost, Trace

LOST = "is one detached, or turned into a number (.detach(), .data, .item(), torch.tensor(...))?"


def cause(program: Program, parameters: Parameters, batch: Any = None) -> str:
    """Why no gradient reaches a parameter, whatever is drawn; "": a gradient does, or this run does not tell why.

    Draws are seen as score functions.
    """
    rule = ScoreFunction()
    quiet = replace(program, checked=False)
    try:
        with seeded(0), torch.enable_grad():
            return cause_in(quiet.run(lambda site: rule, parameters, batch, samples=2)[0])
    # What is wrong with such a run, an estimator's own says.
    except Exception:
        return ""


def cause_in(trace: Trace) -> str:
    """The same for a run that was made."""
    costs = [*trace.costs, *trace.bounds, *trace.penalties]
    if not costs:
        return "the objective charges no cost"
    if any(cost.value.requires_grad for cost in costs):
        return ""
    moved = [
        place
        for place, draw in enumerate(trace.scored)
        if draw.distribution.log_prob(draw.value).requires_grad
    ]
    if not moved:
        made = "no cost is made from a parameter"
        if not trace.scored:
            return f"{made}, and nothing is drawn: {LOST}"
        names = ", ".join(f"'{draw.name}'" for draw in trace.scored[:3])
        return f"neither a cost nor a draw ({names}) is made from a parameter: {LOST}"
    first = trace.scored[moved[0]].name
    last: Cost = max(costs, key=lambda cost: cost.position)
    if last.position <= moved[0]:
        return (
            f"cost '{last.name}' is charged before draw '{first}', the first that depends on a parameter: a cost is "
            "charged to the draws before it, so move context.cost below them"
        )
    return ""
