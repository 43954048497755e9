"""Moves per second of batched games against OpenSpiel's loops, in one run.

Run: python -m experiments.benchmarks.league [boards=1024] [seconds=3]

All sides play random moves and are asked, at each of them, who is to move, what is allowed and what is seen. `states`
is OpenSpiel's Connect Four from a loop in Python (extra [selfplay]); `environment` is its `rl_environment`, the loop
that its agents learn in. OpenSpiel has no strategy game: ours, in which both players give an order to each of their
units at every move, is held against the same loops, and against the plain Python of its tests, one board at a time and
without observations. Times are CPU seconds of one thread, of each row the best of five turns. Without OpenSpiel only
our own are printed.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from experiments.command import given_arguments
from plugins.league.rules.connect_four import COLUMNS, ConnectFour
from plugins.league.rules.strategy.game import Strategy
from plugins.league.rules.strategy.orders import ACTIONS

ROUNDS = 5
# After which the plain strategy game begins again.
PLAIN_MOVES = 100


def ours(boards: int) -> Callable[[], int]:
    """One move of Connect Four on each board; ended ones begin again."""
    rules = ConnectFour(boards)
    rules.restart()
    everywhere = torch.ones(boards, dtype=torch.bool)
    choose = chooser(COLUMNS)

    def move() -> int:
        player = rules.to_move[1].long()
        mask = rules.mask(player)
        rules.observe(player)
        _, ended = rules.play(choose(mask).expand(2, -1), everywhere)
        rules.restart(ended)
        return boards

    return move


def chooser(choices: int) -> Callable[[Tensor], Tensor]:
    """What draws one of the allowed actions of each row of a mask `[N, choices]`, by looking it up.

    A row of the table has the actions of a set, in order; the bits of its number are the set.
    """
    sets = itertools.product((False, True), repeat=choices)
    members = [[i for i, yes in enumerate(reversed(allowed)) if yes] for allowed in sets]
    table = torch.tensor([row + [0] * (choices - len(row)) for row in members]).flatten()
    sizes = torch.tensor([float(len(row)) for row in members])
    weights = 2.0 ** torch.arange(choices)

    def choose(mask: Tensor) -> Tensor:
        rows = (mask.float() @ weights).long()
        places = (torch.rand(rows.shape) * sizes.index_select(0, rows)).long()
        return table.index_select(0, rows * choices + places)

    return choose


def strategy(boards: int) -> Callable[[], int]:
    """One move of both players of the strategy game on each board: what each sees, and an order for each unit."""
    rules = Strategy(boards)
    rules.restart()
    everywhere, choose = torch.ones(boards, dtype=torch.bool), chooser(ACTIONS)
    sides = [torch.full((boards,), number) for number in range(rules.players)]

    def move() -> int:
        orders = []
        for player in sides:
            rules.observe(player)
            orders.append(choose(rules.mask(player).view(-1, ACTIONS)).view(boards, -1))
        _, ended = rules.play(torch.stack(orders), everywhere)
        rules.restart(ended)
        return boards

    return move


def plain_strategy() -> Callable[[], int]:
    """One move of both players in the second implementation, by which the first one is tested."""
    given = import_module("tests.plugins.league.strategy.boards")
    rules = Strategy(1)

    def begun() -> Any:
        rules.restart()
        return given.as_reference(rules, 0)

    now, moves = [begun()], itertools.count(1)

    def move() -> int:
        board = now[0]
        slots = range(rules.slots)
        legal = [[board.legal(player, slot) for slot in slots] for player in (0, 1)]
        board.step([[pick(mask) for mask in side] for side in legal])
        if next(moves) % PLAIN_MOVES == 0:
            now[0] = begun()
        return 1

    return move


def pick(allowed: list[bool]) -> int:
    return random.choice([action for action, yes in enumerate(allowed) if yes])


def states() -> Callable[[], int]:
    """One move of OpenSpiel's state."""
    pyspiel: Any = import_module("pyspiel")
    game = pyspiel.load_game("connect_four")
    now = [game.new_initial_state()]

    def move() -> int:
        state = now[0]
        legal = state.legal_actions()
        state.observation_tensor()
        state.apply_action(random.choice(legal))
        if state.is_terminal():
            state.returns()
            now[0] = game.new_initial_state()
        return 1

    return move


def environment() -> Callable[[], int]:
    """One step of OpenSpiel's reinforcement learning environment."""
    played = import_module("open_spiel.python.rl_environment").Environment("connect_four")
    now = [played.reset()]

    def move() -> int:
        if now[0].last():
            now[0] = played.reset()
        seen = now[0].observations
        now[0] = played.step([random.choice(seen["legal_actions"][seen["current_player"]])])
        return 1

    return move


def speed(move: Callable[[], int], seconds: float) -> float:
    """Moves per CPU second."""
    for _ in range(3):
        move()
    began, moves = time.process_time(), 0
    while time.process_time() - began < seconds:
        moves += move()
    return moves / (time.process_time() - began)


def main() -> None:
    given = dict(argument.partition("=")[::2] for argument in given_arguments(__doc__))
    if unknown := set(given) - {"boards", "seconds"}:
        sys.exit(f"'{min(unknown)}': expected boards=N, seconds=S")
    boards, seconds = int(given.get("boards", 1024)), float(given.get("seconds", 3))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    rows = {"Connect Four": ours(boards), "the strategy game": strategy(boards)}
    own = list(rows)
    rows["the same in plain Python"] = plain_strategy()
    try:
        rows |= {"OpenSpiel, states": states(), "OpenSpiel, environment": environment()}
    except ModuleNotFoundError as missing:
        print(f"{missing.name} is not installed: only our own")
    found = dict.fromkeys(rows, 0.0)
    # In turns, so that what else the machine does slows all of them alike.
    for _ in range(ROUNDS):
        for name, move in rows.items():
            found[name] = max(found[name], speed(move, seconds / ROUNDS))
    print(f"{boards} boards            {'moves/s':>12}" + "".join(f"{n:>20}" for n in own))
    for name, moves in found.items():
        ratios = "".join(f"{found[each] / moves:19.1f}x" for each in own)
        print(f"{name:24}{moves:12,.0f}{ratios}")


if __name__ == "__main__":
    main()
