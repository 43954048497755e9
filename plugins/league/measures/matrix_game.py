"""The equilibrium of a zero-sum matrix game, such as the one between a league's past players."""

from __future__ import annotations

import torch
from torch import Tensor

ITERATIONS = 4000


@torch.no_grad()
def equilibrium(payoffs: Tensor, iterations: int = ITERATIONS) -> tuple[Tensor, Tensor]:
    """Mixtures `[R]` of the rows and `[C]` of the columns by regret matching plus, later ones counting more.

    (Tammelin 2014: the players take turns, and the average is weighted by the iteration.)

    Args:
        payoffs: `[R, C]`, what the row gains and the column loses.
    """
    gains = payoffs.double()
    rows, columns = gains.shape
    regret = [torch.zeros(rows, dtype=gains.dtype), torch.zeros(columns, dtype=gains.dtype)]
    total = [torch.zeros_like(part) for part in regret]
    mixed = [mixture(part) for part in regret]
    for number in range(1, iterations + 1):
        for side, worth in ((0, lambda: gains @ mixed[1]), (1, lambda: -(mixed[0] @ gains))):
            each = worth()
            regret[side] = (regret[side] + each - mixed[side] @ each).clamp(min=0)
            mixed[side] = mixture(regret[side])
            total[side] += number * mixed[side]
    first, second = (part / part.sum() for part in total)
    return first, second


def mixture(regret: Tensor) -> Tensor:
    """Probabilities in proportion to regrets; equal ones where nothing is regretted."""
    total = regret.sum()
    return regret / total if total > 0 else torch.full_like(regret, 1 / len(regret))
