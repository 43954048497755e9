"""The equilibrium of a zero-sum matrix game, such as the one between a league's past players."""

from __future__ import annotations

from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

ITERATIONS = 2000


def equilibrium(payoffs: Tensor, iterations: int = ITERATIONS) -> tuple[Tensor, Tensor]:
    """Mixtures `[R]` of the rows and `[C]` of the columns by regret matching plus, later ones counting more.

    (Tammelin 2014: the players take turns, and the average is weighted by the iteration.)

    Args:
        payoffs: `[R, C]`, what the row gains and the column loses.
    """
    # NumPy's calls are shorter, and there are many.
    gains = payoffs.double().numpy()
    regret = [numpy.zeros(length) for length in gains.shape]
    total = [numpy.zeros_like(part) for part in regret]
    mixed = [mixture(part) for part in regret]
    for number in range(1, iterations + 1):
        for side in range(2):
            each = gains @ mixed[1] if side == 0 else -(mixed[0] @ gains)
            regret[side] = numpy.maximum(regret[side] + each - mixed[side] @ each, 0)
            mixed[side] = mixture(regret[side])
            total[side] += number * mixed[side]
    first, second = (torch.from_numpy(part / part.sum()) for part in total)
    return first, second


def mixture(regret: NDArray[Any]) -> NDArray[Any]:
    """Probabilities in proportion to regrets; equal ones where nothing is regretted."""
    total = regret.sum()
    return regret / total if total > 0 else numpy.full_like(regret, 1 / len(regret))
