"""Moves per second of batched Connect Four against OpenSpiel's loops, in one run.

Run: python -m experiments.benchmarks.league [boards=1024] [seconds=3]

Both sides play random moves and are asked, at each of them, who is to move, what is allowed and what is seen. `states`
is OpenSpiel's game from a loop in Python (extra [selfplay]); `environment` is its `rl_environment`, the loop its agents
learn in. Times are CPU seconds of one thread. Without OpenSpiel only our own are printed.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from experiments.command import given_arguments
from plugins.league.rules.connect_four import ConnectFour


def ours(boards: int) -> Callable[[], int]:
    """One move on each board; ended ones begin again."""
    rules = ConnectFour(boards)
    rules.restart()
    everywhere = torch.ones(boards, dtype=torch.bool)

    def move() -> int:
        player = rules.to_move[1].long()
        mask = rules.mask(player)
        rules.observe(player)
        chosen = torch.rand(mask.shape).masked_fill_(~mask, -1).max(1).indices
        _, ended = rules.play(chosen.expand(2, -1), everywhere)
        rules.restart(ended)
        return boards

    return move


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
    for _ in range(20):
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
    rows = {f"ours, {boards} boards": ours(boards)}
    try:
        rows |= {"OpenSpiel, states": states(), "OpenSpiel, environment": environment()}
    except ModuleNotFoundError as missing:
        print(f"{missing.name} is not installed: only our own")
    own = 0.0
    for name, move in rows.items():
        found = speed(move, seconds)
        own = own or found
        print(f"{name:26} {found:12,.0f} moves/s   ours {own / found:6.1f}x")


if __name__ == "__main__":
    main()
