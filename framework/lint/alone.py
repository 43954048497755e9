"""Runs of a program again with one sample at a time: alone, a sample costs what it costs among others.

Moving the draws of half of the samples (`mixing`) shows what follows them smoothly. A branch on `(x > 1).any()` of many
samples goes the same way whatever half of them does; alone it does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from framework.lint.replay import GivenDraws, UndecidedError
from framework.lint.sample_axis import Again
from framework.randomness import key, seeded
from framework.recording.trace import Draw, Trace

# How many samples are run alone.
ALONE = 8
# Of the costs' size: a solver that goes on until all samples have converged differs by less.
MUCH = 0.01


def differs_alone(again: Again, draws: Sequence[Draw], shape: tuple[int, ...]) -> bool:
    """Whether any of a few samples costs something else alone, with the same draws.

    Args:
        again: runs the program by a rule for its draws, with a leading shape.
        draws: those that were made, in order.
        shape: `[samples, ...]`, of which as many samples are run as it says.

    Raises:
        UndecidedError: the program cannot be run again, or has noise of its own.
    """
    samples, *batch = shape
    if any(draw.value.dim() == 0 or len(draw.value) < samples for draw in draws):
        raise UndecidedError("a draw has no sample axis")

    def costs(first: int, count: int, number: int = 0) -> Tensor:
        values = [draw.value.detach()[first : first + count].clone() for draw in draws]
        given = GivenDraws([draw.name for draw in draws], values)
        try:
            with seeded(key(3, "lint", number)):
                return totals(again(given, (count, *batch)), count)
        except Exception as error:
            raise UndecidedError(str(error)) from error

    together = costs(0, samples)
    if not torch.equal(together, costs(0, samples, number=1)):
        raise UndecidedError("a second run with the same draws is another")
    few = min(samples, ALONE)
    alone = torch.cat([costs(row, 1) for row in range(few)])
    difference = (alone - together[:few]).abs()
    return bool((difference > MUCH * together.abs().max()).any())


def totals(trace: Trace, samples: int) -> Tensor:
    """What each sample costs in all, `[n]`: the mean over what else a cost has."""
    found = torch.zeros(samples, dtype=torch.double)
    for cost in trace.costs:
        value = cost.value.detach().double().cpu()
        rows = value.reshape(samples, -1).mean(1) if value.shape[:1] == (samples,) else value.mean()
        found = found + rows
    return found
