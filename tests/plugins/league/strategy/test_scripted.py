"""The scripted players: they choose legal actions, go by shortest ways and win against chance."""

from collections import deque
from typing import Any

import pytest
import torch

from framework import UserError
from plugins.league.arena import duel, scores
from plugins.league.opponents import RandomPlayer
from plugins.league.players.naming import named_player
from plugins.league.rules.kuhn import Kuhn
from plugins.league.rules.strategy.game import Strategy
from plugins.league.rules.strategy.paths import FAR, distances
from tests.plugins.league.strategy.boards import crowded, players

PLAYERS = ("rush", "economy")


def breadth_first(targets, blocked):
    size = len(targets)
    found = [[FAR] * size for _ in range(size)]
    queue = deque((r, c) for r in range(size) for c in range(size) if targets[r][c])
    for row, column in queue:
        found[row][column] = 0
    while queue:
        row, column = queue.popleft()
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= r < size and 0 <= c < size
            if inside and found[r][c] == FAR and not blocked[r][c]:
                found[r][c] = found[row][column] + 1
                queue.append((r, c))
    return found


def test_distances_are_those_of_breadth_first_search():
    torch.manual_seed(0)
    targets = torch.rand(20, 2, 9, 9) < 0.04
    blocked = torch.rand(20, 9, 9) < 0.2
    found = distances(targets, blocked)
    for board in range(20):
        for kind in range(2):
            expected = breadth_first(targets[board, kind].tolist(), blocked[board].tolist())
            assert found[board, kind].tolist() == expected


@pytest.mark.parametrize("name", PLAYERS)
def test_a_scripted_player_chooses_legal_actions(name):
    rules = crowded(4, 64)
    player: Any = named_player(name, rules, "anchor")
    for side in (0, 1):
        mask = rules.mask(players(rules, side))
        actions = player.choose(rules.observe(players(rules, side)), mask)
        allowed = mask.view(64, rules.slots, 13).gather(-1, actions.unsqueeze(-1))
        assert allowed.all()


@pytest.mark.parametrize("name", ["rush", pytest.param("economy", marks=pytest.mark.slow)])
def test_a_scripted_player_beats_chance(name):
    rules = Strategy(40)
    won = duel(rules, named_player(name, rules, "anchor"), RandomPlayer(), 3)
    assert scores(won).mean() >= 0.95


def test_a_scripted_player_of_another_game_is_refused():
    with pytest.raises(
        UserError, match=r"^player 'rush': it plays task.game=strategy only, not Kuhn$"
    ):
        named_player("rush", Kuhn(1), "anchor")
