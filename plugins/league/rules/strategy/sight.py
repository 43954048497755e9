"""Fog of war: what each player sees, as one whole number for each row of the board, a bit for each column."""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.league.rules.strategy.board import Geometry


def seen_rows(geometry: Geometry, kind: Tensor, cell: Tensor, sight: int) -> Tensor:
    """What both players see, `[N, 2, size + 2]`: all within `sight` rows and columns of a unit of theirs.

    Args:
        kind, cell: `[N, 2, K]`.
    """
    boards, width = len(kind), geometry.size + 2
    # No two units stand on the same cell, so that sums of bits are unions.
    bits = (kind > 0).long() << geometry.column[cell]
    rows = torch.zeros(boards, 2, width, dtype=torch.long, device=kind.device)
    rows.scatter_add_(2, geometry.row[cell], bits)
    wide = rows
    for distance in range(1, sight + 1):
        wide = wide | (rows << distance) | (rows >> distance)
    seen = wide.clone()
    for distance in range(1, min(sight, width - 1) + 1):
        seen[:, :, distance:] |= wide[:, :, :-distance]
        seen[:, :, :-distance] |= wide[:, :, distance:]
    return seen


def sees(geometry: Geometry, rows: Tensor, cell: Tensor) -> Tensor:
    """Whether the owner of `rows [N, size + 2]` sees each of the cells `[N, K]`."""
    return (rows.gather(1, geometry.row[cell]) >> geometry.column[cell]) & 1 == 1


def seen_cells(geometry: Geometry, rows: Tensor) -> Tensor:
    """The same for all cells without the border, `[..., size, size]`."""
    columns = torch.arange(1, geometry.size + 1, device=rows.device)
    return (rows[..., 1:-1].unsqueeze(-1) >> columns) & 1 == 1
