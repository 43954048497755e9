"""A board as its player sees it: shifted so that the player stands in the middle, whatever its place.

What is two cells to the left is then at one place of the observation, and what was learned of it in one corner of the
board holds in all others.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Egocentric(nn.Module):
    """From boards `[B, C, H, W]`, whose last plane marks the player's cell, to views `[B, C, 2 H - 1, 2 W - 1]`.

    The player's plane is replaced by one that is 1 on the board and 0 beyond its edge.
    """

    def forward(self, boards: Tensor) -> Tensor:
        count, _, height, width = boards.shape
        cell = boards[:, -1].flatten(1).argmax(1)
        edges = torch.ones_like(boards[:, -1:])
        wide = nn.functional.pad(
            torch.cat([boards[:, :-1], edges], 1), (width - 1, width - 1, height - 1, height - 1)
        )
        device = boards.device
        n = torch.arange(count, device=device).view(-1, 1, 1)
        rows = (cell // width).view(-1, 1, 1) + torch.arange(2 * height - 1, device=device).view(
            -1, 1
        )
        columns = (cell % width).view(-1, 1, 1) + torch.arange(2 * width - 1, device=device)
        # [B, H, W, C]
        return wide.permute(0, 2, 3, 1)[n, rows, columns].permute(0, 3, 1, 2)
