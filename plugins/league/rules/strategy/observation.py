"""What one player is shown: the board as planes of bytes, its own side up, and where its own units stand.

What no unit of the player sees is shown as if nothing were there, so that nothing hidden can be read from it. The other
side's ore is never shown.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.league.rules.strategy.board import Geometry
from plugins.league.rules.strategy.boards import Boards
from plugins.league.rules.strategy.sight import seen_cells, sees
from plugins.league.rules.strategy.units import KINDS

# Planes: own units by kind, the other side's by kind, and then these.
PLANES = (
    *(f"own {kind.name}" for kind in KINDS[1:]),
    *(f"other {kind.name}" for kind in KINDS[1:]),
    *("health", "rest", "carried", "ore", "seen", "stock", "time"),
)
PLANE = {name: number for number, name in enumerate(PLANES)}
# What one point of each is worth in a byte.
HEALTH, REST, ORE, STOCK = 15, 25, 20, 8
FULL = 255


def observe(
    geometry: Geometry, boards: Boards, seen: Tensor, player: Tensor, longest: int
) -> dict[str, Tensor]:
    """Each board as `player [N]` sees it.

    Args:
        seen: `[N, 2, size + 2]`, from `seen_rows`.

    Returns:
        `map [N, planes, size, size]`, bytes, and `cells [N, K]`, where the units in the player's slots stand on it;
        size x size where a slot is empty.
    """
    second = player == 1
    rows = own_first(seen, second)[:, 0]
    kind, cell = own_first(boards.kind, second).flatten(1), own_first(boards.cell, second).flatten(1)
    slots = boards.kind.shape[2]
    other = torch.arange(2 * slots, device=kind.device) >= slots
    shown = (kind > 0) & (~other | sees(geometry, rows, cell))
    turned = torch.where(second.unsqueeze(1), geometry.cells - 1 - cell, cell)
    area = geometry.size**2
    # Where nothing is shown, all is written behind the planes.
    place = torch.where(shown, geometry.inner[turned], area)
    size = geometry.size
    planes = torch.zeros(len(kind), len(PLANES) * area + 1, dtype=torch.uint8, device=kind.device)
    plane = torch.where(other, PLANE["other base"], PLANE["own base"]) + kind - 1
    behind = len(PLANES) * area
    each = [
        (plane, FULL * shown),
        (PLANE["health"], own_first(boards.health, second).flatten(1) * HEALTH),
        (PLANE["rest"], own_first(boards.rest, second).flatten(1) * REST),
        (PLANE["carried"], (own_first(boards.carried, second).flatten(1) > 0) * FULL),
    ]
    index = torch.cat([torch.where(shown, at * area + place, behind) for at, _ in each], 1)
    values = torch.cat([value for _, value in each], 1).to(torch.uint8)
    planes.scatter_(1, index, values)
    map_ = planes[:, :behind].view(-1, len(PLANES), size, size)
    visible = seen_cells(geometry, rows)
    ore = geometry.within(boards.ore) * visible
    turn = second.view(-1, 1, 1)
    map_[:, PLANE["ore"]] = torch.where(turn, ore.flip(1, 2), ore) * ORE
    map_[:, PLANE["seen"]] = torch.where(turn, visible.flip(1, 2), visible) * FULL
    stock = own_first(boards.stock, second)[:, 0] * STOCK
    map_[:, PLANE["stock"]] = stock.clamp(max=FULL).view(-1, 1, 1)
    map_[:, PLANE["time"]] = (boards.clock * FULL // longest).view(-1, 1, 1)
    return {"map": map_, "cells": place[:, :slots]}


def own_first(values: Tensor, second: Tensor) -> Tensor:
    """`[N, 2, ...]` with the players' parts exchanged where `second [N]` is true."""
    return torch.where(second.view(-1, *[1] * (values.dim() - 1)), values.flip(1), values)
