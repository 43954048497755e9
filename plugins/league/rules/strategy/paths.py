"""Shortest ways on many boards at once."""

from __future__ import annotations

import torch
from torch import Tensor

# More than any way is long.
FAR = 1000


def distances(targets: Tensor, blocked: Tensor) -> Tensor:
    """Steps from each cell to the nearest target, `[N, F, S, S]`; `FAR` where none can be reached.

    Args:
        targets: `[N, F, S, S]`, bool, F kinds of targets.
        blocked: `[N, S, S]`, bool, cells that no way leads through.
    """
    size = targets.shape[-1]
    # [S, S, N F]: a row, and a column, of all boards lies together.
    goal = targets.permute(2, 3, 0, 1).flatten(2)
    wall = blocked.permute(1, 2, 0).unsqueeze(-1).expand(-1, -1, -1, targets.shape[1]).flatten(2)
    steps = torch.where(goal, 0, FAR).to(torch.int16)
    cost = torch.where(wall, FAR, 1).to(torch.int16)
    upwards, downwards = range(1, size), range(size - 2, -1, -1)
    before = torch.empty_like(steps)
    # Sweeps in all four directions; each more allows for another turn back.
    while not torch.equal(steps, before):
        before.copy_(steps)
        for order, back in ((upwards, -1), (downwards, 1)):
            for i in order:
                steps[i] = torch.minimum(steps[i], steps[i + back] + cost[i])
            for i in order:
                steps[:, i] = torch.minimum(steps[:, i], steps[:, i + back] + cost[:, i])
    found: Tensor = steps.unflatten(2, targets.shape[:2])
    return found.permute(2, 3, 0, 1)
