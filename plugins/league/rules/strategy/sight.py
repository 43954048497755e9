"""Fog of war: what each player sees, as one whole number for each row of the board, a bit for each column."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from plugins.league.rules.strategy.board import Geometry
from plugins.league.rules.strategy.units import look


def seen_rows(geometry: Geometry, kind: Tensor, cell: Tensor, sight: int) -> Tensor:
    """What both players see, `[N, 2, size + 2]`: all within `sight` rows and columns of a unit of theirs.

    Args:
        kind, cell: `[N, 2, K]`.
    """
    width = geometry.size + 2
    # No two units stand on the same cell, so that sums of bits are unions.
    bits = look(geometry.bit, cell) * (kind > 0)
    rows = torch.zeros(*kind.shape[:2], width, dtype=torch.int32, device=kind.device)
    rows.scatter_add_(2, look(geometry.row, cell), bits)
    wide = rows
    for distance in range(1, sight + 1):
        wide = wide | (rows << distance) | (rows >> distance)
    seen = wide.clone()
    for distance in range(1, min(sight, width - 1) + 1):
        seen[:, :, distance:] |= wide[:, :, :-distance]
        seen[:, :, :-distance] |= wide[:, :, distance:]
    return seen


def sees(geometry: Geometry, rows: Tensor, cell: Tensor) -> Tensor:
    """Whether who sees `rows [N, 2, size + 2]` sees the cells `[N, 2, K]`."""
    return (rows.gather(2, look(geometry.row, cell)) & look(geometry.bit, cell)) != 0


def seen_cells(geometry: Geometry, rows: Tensor) -> Tensor:
    """The same for all cells without the border: bytes of 0 and 1, `[..., size, size]`."""
    inside = rows[..., 1:-1] >> 1 & (1 << geometry.size) - 1
    found = every_row(geometry.size, rows.device).index_select(0, inside.flatten())
    return found.view(*inside.shape, geometry.size)


@cache
def every_row(size: int, device: torch.device) -> Tensor:
    """The bits of all numbers of `size` bits, `[2 ** size, size]`."""
    numbers = torch.arange(1 << size, device=device).unsqueeze(1)
    return (numbers >> torch.arange(size, device=device) & 1).to(torch.uint8)
