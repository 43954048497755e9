"""What an action of a unit means, and which actions are legal.

An action is one of 13: wait; go up, right, down or left; make the first kind that the unit can make, on one of those
four sides; make the second kind. To go where an enemy stands is to attack it, to go where ore lies is to take a load of
it, and to go with a load into the own base is to deliver it.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from plugins.league.rules.strategy.units import BASE, KINDS, WORKER

ACTIONS = 13
# What becomes of an action.
NOTHING, MOVE, ATTACK, GATHER, DELIVER, MAKE = range(6)
# What stands on a cell: these, or UNIT + 5 player + kind - 1.
FREE, WALL, ORE, UNIT = range(4)
CONTENTS = UNIT + 10
# Of actions: wait, go, make the first kind, make the second.
GROUPS = 4


def effect(player: int, kind: int, carrying: bool, content: int, group: int) -> int:
    """What becomes of an action of a ready unit towards a cell, whatever it costs."""
    own = range(UNIT + 5 * player, UNIT + 5 * player + 5)
    if group >= 2:
        made = len(KINDS[kind].makes) > group - 2
        return MAKE if made and content == FREE else NOTHING
    if group == 0 or not KINDS[kind].mobile:
        return NOTHING
    if content == FREE:
        return MOVE
    if content >= UNIT and content not in own:
        return ATTACK
    if kind == WORKER and content == ORE and not carrying:
        return GATHER
    home = UNIT + 5 * player + BASE - 1
    return DELIVER if kind == WORKER and carrying and content == home else NOTHING


@cache
def effects(device: torch.device) -> Tensor:
    """`effect` by player, kind, carrying, group and content, flat: 2 x 6 x 2 x 4 x 13."""
    return torch.tensor(
        [
            effect(player, kind, bool(carrying), content, group)
            for player in range(2)
            for kind in range(len(KINDS))
            for carrying in range(2)
            for group in range(GROUPS)
            for content in range(CONTENTS)
        ],
        dtype=torch.int32,
        device=device,
    )


@cache
def products(device: torch.device) -> Tensor:
    """The kind that each kind makes by each group of actions, flat: 6 x 4; 0: none."""
    rows = [[0, 0, *kind.makes, 0, 0][:GROUPS] for kind in KINDS]
    return torch.tensor(rows, dtype=torch.int32, device=device).flatten()
