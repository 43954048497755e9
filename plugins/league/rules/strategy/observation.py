"""What each player is shown: the board as planes of bytes, its own side up, and where its own units stand.

What no unit of the player sees is shown as if nothing were there, so that nothing hidden can be read from it. The other
side's ore is never shown.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.league.rules.strategy.board import Geometry
from plugins.league.rules.strategy.boards import Boards
from plugins.league.rules.strategy.sight import seen_cells, sees
from plugins.league.rules.strategy.units import KINDS, look

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


def views(geometry: Geometry, boards: Boards, seen: Tensor, longest: int) -> dict[str, Tensor]:
    """Each board as both players see it.

    Args:
        seen: `[N, 2, size + 2]`, from `seen_rows`.

    Returns:
        `map [N, 2, planes, size, size]`, bytes, and `cells [N, 2, K]`, where the units in the player's slots stand on
        it; size x size where a slot is empty.
    """
    size, count, device = geometry.size, len(boards.kind), boards.kind.device
    # Behind the cells of each plane there is one more, for what is not shown.
    planes = torch.zeros(count, 2, len(PLANES), size**2 + 1, dtype=torch.uint8, device=device)
    views = torch.arange(2, device=device).unsqueeze(1) * geometry.cells
    own = look(geometry.places, boards.cell + views)
    show(planes, own, PLANE["own base"], boards.kind, boards.health, boards.rest, boards.carried)
    # What the other player has, [N, 2 views, K].
    others = [boards.kind, boards.health, boards.rest, boards.carried]
    there = boards.cell.flip(1)
    # Cell 0 is on the border.
    known = look(geometry.places, (there + views) * sees(geometry, seen, there))
    show(planes, known, PLANE["other base"], *(values.flip(1) for values in others))
    shown = planes[..., :-1].unflatten(-1, (size, size))
    visible = seen_cells(geometry, seen)
    ore = geometry.within(boards.ore) * ORE
    for player in (0, 1):
        for name, plane in (("ore", ore * visible[:, player]), ("seen", visible[:, player] * FULL)):
            shown[:, player, PLANE[name]] = plane.flip(1, 2) if player else plane
    shown[:, :, PLANE["stock"]] = (boards.stock * STOCK).clamp(max=FULL)[..., None, None].byte()
    shown[:, :, PLANE["time"]] = (boards.clock * FULL // longest).view(-1, 1, 1, 1).byte()
    return {"map": shown.contiguous(), "cells": own}


def show(
    planes: Tensor,
    place: Tensor,
    first: int,
    kind: Tensor,
    health: Tensor,
    rest: Tensor,
    carried: Tensor,
) -> None:
    """Write units into both views' planes.

    Args:
        planes: `[N, 2, planes, cells + 1]`.
        place: `[N, 2, K]`, where each unit is shown.
        first: the plane of the first kind.
    """
    behind = planes.shape[-1]
    plane = kind.clamp(min=1) + (first - 1)
    index = [plane * behind + place]
    index += [PLANE[name] * behind + place for name in ("health", "rest", "carried")]
    values = [torch.full_like(kind, FULL), health * HEALTH, rest * REST, carried * FULL]
    planes.flatten(2).scatter_(2, torch.cat(index, 2), torch.cat(values, 2).byte())
