"""The strategy game for the CPU, compiled by numba on first use: what step.py and observation.py vectorise, as loops.

Each board is played and shown by itself: what it needs stays in the processor's nearest cache, and an empty slot costs
next to nothing. The results are those of the torch version, bit by bit; the tables come from there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy
import torch
from numba import njit
from torch import Tensor

from framework.kernel_cache import cached_with_folder
from plugins.games.environments.native.games import State
from plugins.league.rules.strategy.board import WAYS, Geometry
from plugins.league.rules.strategy.boards import Boards
from plugins.league.rules.strategy.observation import (
    FULL,
    HEALTH,
    PLANE,
    PLANES,
    REST,
    STOCK,
)
from plugins.league.rules.strategy.observation import ORE as ORE_SHOWN
from plugins.league.rules.strategy.orders import (
    ACTIONS,
    ATTACK,
    CONTENTS,
    DELIVER,
    FREE,
    GATHER,
    GROUPS,
    MAKE,
    MOVE,
    ORE,
    UNIT,
    effects,
    products,
)
from plugins.league.rules.strategy.units import GATHER_REST, LOAD, table

Function = TypeVar("Function", bound=Callable[..., Any])
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
inlined: Callable[[Function], Function] = njit(inline="always", **OPTIONS)


def compiled(function: Function) -> Function:
    """A loop that numba compiles on first use, and caches until the rules of this folder change."""
    kernel: Function = cached_with_folder(njit(**OPTIONS)(function), Path(__file__).parent)
    return kernel


# Columns of the table of kinds.
COLUMNS = ("cost", "health", "damage", "making", "move_rest", "attack_rest")
COST, NEW, DAMAGE, MAKING, MOVE_REST, ATTACK_REST, FIRST_PRODUCT = range(7)
OWN, OTHER = PLANE["own base"], PLANE["other base"]
HEALTH_PLANE, REST_PLANE, CARRIED_PLANE = PLANE["health"], PLANE["rest"], PLANE["carried"]
ORE_PLANE, SEEN_PLANE = PLANE["ore"], PLANE["seen"]
STOCK_PLANE, TIME_PLANE = PLANE["stock"], PLANE["time"]
SIDES = len(WAYS)
# In place of a cell: of a unit that falls in this step, whose slot is free in the next one only.
FALLEN = -1
# Of a state: what a step changes of each unit, in the order of `Boards`.
CHANGED = ("kind", "cell", "health", "rest", "carried", "stock", "ore", "clock")


class Kernel:
    """The rules of boards of one size as arrays, and the loops over them."""

    def __init__(self, geometry: Geometry, slots: int, sight: int, longest: int) -> None:
        cpu = torch.device("cpu")
        self.size, self.slots = geometry.size, slots
        self.limits = geometry.size, sight, longest
        kinds = [table(name, cpu) for name in COLUMNS]
        makes = products(cpu).view(-1, GROUPS)[:, 2:]
        rules = torch.cat([torch.stack(kinds, 1), makes], 1).numpy()
        # Of each player what the 13 actions add to a cell.
        none = torch.zeros(2, 1, dtype=torch.long)
        steps = torch.cat([none, *[geometry.steps] * (GROUPS - 1)], 1)
        self.tables = effects(cpu).numpy(), rules, steps.numpy(), geometry.wall.numpy()
        self.nowhere = geometry.nowhere
        self.inner = geometry.inner.numpy()

    def step(self, boards: Boards, actions: Tensor, running: Tensor) -> Boards:
        """As `step.step`; actions are `[2, N, K]`."""
        state = {name: getattr(boards, name).clone() for name in CHANGED}
        arrays = tuple(part.numpy() for part in state.values())
        _step(arrays, actions.contiguous().numpy(), running.numpy(), self.tables, self.nowhere)
        return Boards(**state, over=boards.over)

    def mask(self, state: State, player: Tensor) -> Tensor:
        """The actions that `player [N]` may choose, `[N, 13 K]`."""
        mask = torch.empty(len(player), self.slots, ACTIONS, dtype=torch.bool)
        _mask(arrays_of(state), player.numpy(), self.tables, mask.numpy())
        return mask.flatten(1)

    def observe(self, state: State, player: Tensor) -> dict[str, Tensor]:
        """As `observation.views`, of `player [N]` alone."""
        area = self.size**2
        planes = torch.empty(len(player), len(PLANES), area, dtype=torch.uint8)
        cells = torch.empty(len(player), self.slots, dtype=torch.long)
        shown = planes.numpy(), cells.numpy()
        _observe(arrays_of(state), player.numpy(), self.inner, self.limits, *shown)
        return {"map": planes.unflatten(2, (self.size, self.size)), "cells": cells}


def arrays_of(state: State) -> Any:
    return *(state[name].numpy() for name in CHANGED), state["over"].numpy()


# --- a step -----------------------------------------------------------------------------------------------------------


@compiled
def _step(state: Any, actions: Any, running: Any, tables: Any, nowhere: int) -> None:
    """Play a move on the running boards, in place."""
    kind, _, _, _, _, _, ore, clock = state
    slots, cells = kind.shape[2], ore.shape[1]
    # Of each cell: what stands there, the damage done to it, how many ask for it.
    around = numpy.empty((3, cells), numpy.uint8)
    # Of each unit: what becomes of its action, the cell it is about, what it makes.
    orders = numpy.empty((3, 2, slots), numpy.int64)
    for board in range(len(kind)):
        if running[board]:
            clock[board] += 1
            _step_board(board, state, actions, tables, nowhere, around, orders)


@inlined
def _content(board: int, kind: Any, cell: Any, ore: Any, wall: Any, content: Any) -> None:
    """Write what stands on each cell; see `orders`."""
    for place in range(len(content)):
        content[place] = wall[place] + (ORE if ore[board, place] > 0 else FREE)
    for player in range(2):
        for slot in range(kind.shape[2]):
            # The border stays what it is.
            if kind[board, player, slot] > 0 and wall[cell[board, player, slot]] == 0:
                content[cell[board, player, slot]] = (
                    UNIT - 1 + 5 * player + kind[board, player, slot]
                )


@inlined
def _step_board(
    board: int,
    state: Any,
    actions: Any,
    tables: Any,
    nowhere: int,
    around: Any,
    orders: Any,
) -> None:
    kind, cell, _, _, _, _, ore, _ = state
    rules, wall = tables[1], tables[3]
    content, hits, asked = around
    effect, target, product = orders
    _content(board, kind, cell, ore, wall, content)
    hits[:] = 0
    asked[:] = 0
    for p in range(2):
        _understand(board, p, state, actions, tables, content, hits, orders)
    for p in range(2):
        _pay(board, p, state, rules, hits, effect, product)
        for k in range(kind.shape[2]):
            if effect[p, k] == MOVE or effect[p, k] == GATHER or product[p, k] > 0:
                asked[target[p, k]] += 1
    for p in range(2):
        _fall(board, p, state, hits)
        _act(board, p, state, rules, asked, effect, target, product)
    for p in range(2):
        for k in range(kind.shape[2]):
            if effect[p, k] == GATHER:
                ore[board, target[p, k]] -= LOAD
        _place_new(board, p, state, rules, nowhere, target, product)


@inlined
def _understand(
    board: int,
    p: int,
    state: Any,
    actions: Any,
    tables: Any,
    content: Any,
    hits: Any,
    orders: Any,
) -> None:
    """Write what becomes of the player's actions, and the damage that they do."""
    kind, cell, _, rest, carried, _, _, _ = state
    effects, rules, steps, _ = tables
    effect, target, product = orders
    for k in range(kind.shape[2]):
        effect[p, k], product[p, k] = 0, 0
        one = kind[board, p, k]
        if one == 0 or rest[board, p, k] > 0:
            continue
        action = actions[p, board, k]
        group = (action + SIDES - 1) // SIDES
        there = cell[board, p, k] + steps[p, action]
        unit = (p * len(rules) + one) * 2 + min(carried[board, p, k], 1)
        found = effects[(unit * GROUPS + group) * CONTENTS + content[there]]
        target[p, k], effect[p, k] = there, found
        if found == ATTACK:
            hits[there] += rules[one, DAMAGE]
        elif found == MAKE:
            product[p, k] = rules[one, FIRST_PRODUCT + group - 2]


@inlined
def _pay(board: int, p: int, state: Any, rules: Any, hits: Any, effect: Any, product: Any) -> None:
    """Give up what those that fell wanted, but for their attacks, and products that cannot be paid for."""
    kind, cell, health, _, _, stock, _, _ = state
    left, room = stock[board, p], 0
    for k in range(kind.shape[2]):
        if kind[board, p, k] == 0:
            room += 1
    for k in range(kind.shape[2]):
        if effect[p, k] == 0:
            continue
        if health[board, p, k] <= hits[cell[board, p, k]]:
            effect[p, k], product[p, k] = 0, 0
        elif product[p, k] > 0:
            cost = rules[product[p, k], COST]
            if cost > stock[board, p]:
                product[p, k] = 0
                continue
            left, room = left - cost, room - 1
            if left < 0 or room < 0:
                product[p, k] = 0


@inlined
def _fall(board: int, p: int, state: Any, hits: Any) -> None:
    """Take what the attacks did, and those that it destroyed."""
    kind, cell, health, rest, carried, _, _, _ = state
    for k in range(kind.shape[2]):
        if kind[board, p, k] == 0:
            continue
        health[board, p, k] -= hits[cell[board, p, k]]
        if health[board, p, k] <= 0:
            kind[board, p, k], health[board, p, k], rest[board, p, k] = 0, 0, 0
            carried[board, p, k], cell[board, p, k] = 0, FALLEN


@inlined
def _act(
    board: int,
    p: int,
    state: Any,
    rules: Any,
    asked: Any,
    effect: Any,
    target: Any,
    product: Any,
) -> None:
    """Do what takes place on the player's side; of effects are left the loads of ore that are taken."""
    kind, cell, _, rest, carried, stock, ore, _ = state
    earned = 0
    for k in range(kind.shape[2]):
        one = kind[board, p, k]
        if one == 0:
            continue
        what, there, pause = effect[p, k], target[p, k], max(rest[board, p, k] - 1, 0)
        effect[p, k] = 0
        if what == MOVE and asked[there] == 1:
            cell[board, p, k] = there
            pause += rules[one, MOVE_REST]
        elif what == ATTACK:
            pause += rules[one, ATTACK_REST]
        elif what == GATHER and ore[board, there] >= asked[there] * LOAD:
            effect[p, k] = GATHER
            carried[board, p, k] += LOAD
            pause += GATHER_REST
        elif what == DELIVER:
            earned += carried[board, p, k]
            carried[board, p, k] = 0
        elif product[p, k] > 0 and asked[there] == 1:
            earned -= rules[product[p, k], COST]
            pause += rules[product[p, k], MAKING]
        else:
            product[p, k] = 0
        rest[board, p, k] = pause
    stock[board, p] += earned


@inlined
def _place_new(
    board: int, p: int, state: Any, rules: Any, nowhere: int, target: Any, product: Any
) -> None:
    """Put what was made into slots that were free before, in the order of slots."""
    kind, cell, health, rest, _, _, _, _ = state
    slots, new = kind.shape[2], 0
    for k in range(slots):
        if product[p, k] > 0:
            while kind[board, p, new] > 0 or cell[board, p, new] == FALLEN:
                new += 1
            one = product[p, k]
            kind[board, p, new], cell[board, p, new] = one, target[p, k]
            health[board, p, new], rest[board, p, new] = rules[one, NEW], rules[one, MAKING]
    for k in range(slots):
        if cell[board, p, k] == FALLEN:
            cell[board, p, k] = nowhere


# --- what a player may do and see -------------------------------------------------------------------------------------


@compiled
def _mask(state: Any, player: Any, tables: Any, mask: Any) -> None:
    kind, cell, _, rest, carried, stock, ore, _, over = state
    effects, rules, steps, wall = tables
    content = numpy.empty(ore.shape[1], numpy.uint8)
    for board in range(len(kind)):
        p, allowed = player[board], mask[board]
        allowed[:] = False
        allowed[:, 0] = True
        if over[board]:
            continue
        _content(board, kind, cell, ore, wall, content)
        budget = -1
        for k in range(kind.shape[2]):
            if kind[board, p, k] == 0:
                budget = stock[board, p]
        for k in range(kind.shape[2]):
            one = kind[board, p, k]
            if one == 0 or rest[board, p, k] > 0:
                continue
            first, second = rules[one, FIRST_PRODUCT], rules[one, FIRST_PRODUCT + 1]
            makes_first = first > 0 and rules[first, COST] <= budget
            makes_second = second > 0 and rules[second, COST] <= budget
            unit = (p * len(rules) + one) * 2 + min(carried[board, p, k], 1)
            for way in range(1, SIDES + 1):
                there = content[cell[board, p, k] + steps[p, way]]
                # Of the second group of actions, which is to go.
                allowed[k, way] = effects[(unit * GROUPS + 1) * CONTENTS + there] > 0
                allowed[k, way + SIDES] = makes_first and there == FREE
                allowed[k, way + 2 * SIDES] = makes_second and there == FREE


@compiled
def _observe(state: Any, player: Any, inner: Any, limits: Any, planes: Any, cells: Any) -> None:
    kind, cell, _, _, _, stock, ore, clock, _ = state
    size, sight, longest = limits
    width, area = size + 2, size * size
    rows = numpy.empty((3, width), numpy.int32)
    for board in range(len(kind)):
        p, shown = player[board], planes[board]
        # A player's own side is up.
        last = (area - 1) * p
        sign = 1 - 2 * p
        shown[:STOCK_PLANE] = 0
        shown[STOCK_PLANE] = min(stock[board, p] * STOCK, FULL)
        shown[TIME_PLANE] = clock[board] * FULL // longest
        _look_around(kind[board, p], cell[board, p], sight, rows)
        seen = rows[2]
        for row in range(size):
            for column in range(size):
                if seen[row + 1] >> (column + 1) & 1:
                    place = last + sign * (row * size + column)
                    shown[SEEN_PLANE, place] = FULL
                    there = ore[board, (row + 1) * width + column + 1]
                    shown[ORE_PLANE, place] = there * ORE_SHOWN
        for k in range(kind.shape[2]):
            cells[board, k] = area
            if kind[board, p, k] > 0 and inner[cell[board, p, k]] < area:
                cells[board, k] = last + sign * inner[cell[board, p, k]]
                _show(board, p, k, state, OWN, cells[board, k], shown)
            if kind[board, 1 - p, k] > 0:
                there = cell[board, 1 - p, k]
                # Nothing is shown on the border.
                if inner[there] < area and seen[there // width] >> (there % width) & 1:
                    _show(board, 1 - p, k, state, OTHER, last + sign * inner[there], shown)


@inlined
def _show(
    board: int, player: int, slot: int, state: Any, first: int, place: int, shown: Any
) -> None:
    """Write a unit into the planes; `first` is that of its side's first kind."""
    kind, _, health, rest, carried, _, _, _, _ = state
    shown[first + kind[board, player, slot] - 1, place] = FULL
    shown[HEALTH_PLANE, place] = health[board, player, slot] * HEALTH
    shown[REST_PLANE, place] = rest[board, player, slot] * REST
    shown[CARRIED_PLANE, place] = carried[board, player, slot] * FULL


@inlined
def _look_around(kind: Any, cell: Any, sight: int, rows: Any) -> None:
    """Write what units see into the last of three rows of bits; see `sight`."""
    width = rows.shape[1]
    rows[:] = 0
    for k in range(len(kind)):
        if kind[k] > 0:
            rows[0, cell[k] // width] |= 1 << cell[k] % width
    for row in range(width):
        bits = rows[0, row]
        for distance in range(1, sight + 1):
            bits |= rows[0, row] << distance | rows[0, row] >> distance
        rows[1, row] = bits
    for row in range(width):
        for near in range(max(row - sight, 0), min(row + sight + 1, width)):
            rows[2, row] |= rows[1, near]
