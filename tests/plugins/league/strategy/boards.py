"""Matches for the tests: boards in the middle of play, and their reflection."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from plugins.league.rules.strategy.game import Strategy
from tests.plugins.league.strategy.reference import NAMES, Board, Unit


def players(rules: Strategy, player: int) -> Tensor:
    return torch.full((rules.boards,), player)


def any_legal(rules: Strategy) -> Tensor:
    """Legal actions of both players, all with equal chances but for waiting, `[2, N, K]`."""
    masks = torch.stack([rules.mask(players(rules, 0)), rules.mask(players(rules, 1))])
    chances = torch.rand(2, rules.boards, rules.slots, 13).masked_fill(
        ~masks.view(2, rules.boards, rules.slots, 13), -1
    )
    chances[..., 0] *= 0.2
    return chances.argmax(-1)


def everywhere(rules: Strategy) -> Tensor:
    return torch.ones(rules.boards, dtype=torch.bool)


def played(seed: int, boards: int = 8, steps: int = 0, **options: Any) -> Strategy:
    """Matches that have been played by chance for so many steps."""
    torch.manual_seed(seed)
    rules = Strategy(boards, **options)
    rules.restart()
    for _ in range(steps):
        rules.play(any_legal(rules), everywhere(rules))
    return rules


def crowded(seed: int, boards: int = 8, **options: Any) -> Strategy:
    """Boards on which many units of all kinds stand anywhere: no match leads there soon, and every rule is met."""
    rules = played(seed, boards, **options)
    state = {name: value.clone() for name, value in rules.state.items()}
    geometry, area = rules.geometry, rules.size**2
    count = 2 * rules.slots
    cells = torch.rand(boards, area).argsort(1)
    cells = geometry.cell(cells // rules.size, cells % rules.size)
    kind = torch.randint(0, 6, (boards, 2, rules.slots))
    # Workers most of all.
    kind = torch.where(torch.rand(kind.shape) < 0.3, 3, kind)
    kind = torch.where((kind == 1), 2, kind)
    kind[:, :, 0] = 1
    there = kind > 0
    kind = kind.int()
    state["kind"] = kind
    state["cell"] = torch.where(there, cells[:, :count].reshape(kind.shape), geometry.nowhere)
    state["health"] = (torch.rand(kind.shape) * rules.tables.health[kind.long()]).int() + 1
    state["health"] *= there
    state["rest"] = ((torch.rand(kind.shape) < 0.2) * torch.randint(1, 5, kind.shape) * there).int()
    state["carried"] = ((kind == 3) & (torch.rand(kind.shape) < 0.5)).int()
    state["stock"] = torch.randint(0, 12, (boards, 2)).int()
    state["ore"].zero_()
    state["ore"].scatter_(1, cells[:, count : count + 8], torch.randint(1, 3, (boards, 8)).byte())
    rules.state = state
    return rules


def reflected(rules: Strategy) -> Strategy:
    """The same boards turned by 180 degrees, with the players exchanged."""
    state = rules.state
    cells = rules.geometry.cells
    turned = {name: state[name].flip(1) for name in ("kind", "health", "rest", "carried", "stock")}
    cell = state["cell"].flip(1)
    turned["cell"] = torch.where(turned["kind"] > 0, cells - 1 - cell, rules.geometry.nowhere)
    turned["ore"] = state["ore"].flip(1)
    other = rules.select(torch.arange(rules.boards))
    other.state = {name: turned.get(name, state[name]).clone() for name in state}
    return other


def as_reference(rules: Strategy, board: int) -> Board:
    """One board as the slow reference has it."""
    state = {name: value[board].tolist() for name, value in rules.state.items()}
    width = rules.size + 2

    def place(cell: int) -> tuple[int, int]:
        return cell // width - 1, cell % width - 1

    units = [
        [
            None
            if kind == 0
            else Unit(
                str(NAMES[kind]),
                place(state["cell"][player][slot]),
                state["health"][player][slot],
                state["rest"][player][slot],
                state["carried"][player][slot],
            )
            for slot, kind in enumerate(state["kind"][player])
        ]
        for player in (0, 1)
    ]
    ore = {place(cell): amount for cell, amount in enumerate(state["ore"]) if amount}
    return Board(rules.size, units, state["stock"], ore)
