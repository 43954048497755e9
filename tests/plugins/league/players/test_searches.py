"""Searches: they win what can be won, stop what can be stopped, and a perfect one never loses."""

import pytest
import torch

from framework import UserError
from plugins.league.arena import duel, scores
from plugins.league.opponents import RandomPlayer
from plugins.league.players.minimax import Minimax, action_values
from plugins.league.players.naming import named_player
from plugins.league.players.tree_search import TreeSearch
from plugins.league.rules.connect_four import ConnectFour
from plugins.league.rules.kuhn import Kuhn
from plugins.league.rules.tic_tac_toe import TicTacToe


def after(kind, moves):
    """A board after some moves."""
    rules = kind(1)
    rules.restart()
    for move in moves:
        rules.play(torch.full((2, 1), move), torch.ones(1, dtype=torch.bool))
    return rules


def test_a_win_is_taken_and_a_loss_is_stopped():
    # The first has three stones in column 0, the second two in column 1.
    winning = action_values(after(ConnectFour, [0, 1, 0, 1, 0, 1]), torch.tensor([0]), 1)
    assert winning.argmax() == 0
    assert winning.max() == 1
    stopping = action_values(after(ConnectFour, [0, 1, 0, 1, 0]), torch.tensor([1]), 2)
    assert stopping[0].argmax() == 0
    # All others lose in two moves.
    assert (stopping[0, 1:] < -0.9).all()


def test_perfect_tic_tac_toe_is_a_draw_and_never_loses():
    # After two moves, from where a search to the end is quick.
    values = action_values(after(TicTacToe, [0, 1]), torch.tensor([0]), 7)
    # A corner against the edge beside it wins.
    assert values.max() > 0.9
    values = action_values(after(TicTacToe, [0, 4]), torch.tensor([0]), 7)
    assert values.max() == 0


def test_minimax_beats_chance():
    won = duel(ConnectFour(100), Minimax(2), RandomPlayer(), 1)
    assert scores(won).mean() > 0.9


def test_tree_search_beats_chance_and_takes_a_win():
    won = duel(TicTacToe(20), TreeSearch(20), RandomPlayer(), 1)
    assert scores(won).mean() > 0.8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("minimax_0", "expected minimax_1 to minimax_8"),
        ("minimax_99", "expected minimax_1 to minimax_8"),
        ("minimaks_2", "did you mean 'minimax_2'"),
        ("tree_search", "did you mean 'tree_search_100'"),
    ],
)
def test_a_wrong_player_is_refused_in_one_line(name, said):
    with pytest.raises(UserError, match=said):
        named_player(name, ConnectFour(1), "task.anchors")


def test_no_search_where_cards_are_hidden():
    with pytest.raises(UserError, match="which Kuhn's players do not see; choices: random"):
        named_player("minimax_2", Kuhn(1), "task.anchors")
