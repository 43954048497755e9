"""Searches: they win what can be won, stop what can be stopped, and a perfect one never loses."""

import pytest
import torch

from framework import UserError
from plugins.league.arena import duel, scores
from plugins.league.opponents import RandomPlayer, View, seen_by
from plugins.league.players.minimax import Minimax, action_values
from plugins.league.players.naming import named_player
from plugins.league.players.tree_search import Trees, TreeSearch
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


@pytest.mark.parametrize("kind", [ConnectFour, TicTacToe])
def test_what_an_action_gains_at_once_is_what_playing_it_gains(kind, monkeypatch):
    torch.manual_seed(0)
    boards = kind(200)
    boards.restart()
    everywhere, wins = torch.ones(200, dtype=torch.bool), 0
    for _ in range(boards.longest - 1):
        player = boards.to_move[1].long()
        known = action_values(boards, player, 1)
        with monkeypatch.context() as patched:
            patched.setattr(kind, "gains", lambda self: None)
            played = action_values(boards, player, 1)
        assert torch.equal(known, played)
        wins += int((known == 1).sum())
        mask = boards.mask(player)
        actions = torch.rand(mask.shape).masked_fill(~mask, -1).argmax(1)
        _, ended = boards.play(actions.expand(2, -1), everywhere)
        boards.restart(ended)
    assert wins > 100


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
    won = scores(duel(TicTacToe(80), TreeSearch(20), RandomPlayer(), 1))
    # By four standard errors of as many matches between equals.
    assert won.mean() > 0.5 + 4 * 0.5 / len(won) ** 0.5


@pytest.mark.parametrize(("simulations", "at_once"), [(40, 1), (40, 5), (7, 7)])
def test_every_simulation_is_counted_once_on_its_whole_way(simulations, at_once):
    torch.manual_seed(0)
    boards = after(TicTacToe, [0, 4]).select(torch.zeros(3, dtype=torch.long))
    trees = Trees(boards, torch.zeros(3, dtype=torch.long), simulations)
    for done in range(0, simulations, at_once):
        trees.simulate(1.4, min(at_once, simulations - done))
    assert trees.visits[:3].sum(1).tolist() == 3 * [simulations]
    # Nothing is left of the defeats that were assumed: a simulation brings -1, 0 or 1.
    assert torch.equal(trees.worth, trees.worth.round())
    assert (trees.worth.abs() <= trees.visits).all()
    for row, action in (trees.children >= 0).nonzero().tolist():
        child = trees.children[row, action]
        inside = trees.visits[child].sum()
        # A position is played on from once, when it is added, and then through its own actions; an end each time.
        assert trees.over[child] or trees.visits[row, action] == 1 + inside
        sign = -1 if trees.player[child] != trees.player[row] else 1
        rest = trees.worth[row, action] - sign * trees.worth[child].sum()
        assert trees.over[child] or abs(rest) <= 1


def test_tree_search_finds_the_only_move_that_does_not_lose():
    torch.manual_seed(0)
    # The first threatens 0 1 2; the second must take 2.
    boards = after(TicTacToe, [0, 4, 1]).select(torch.zeros(20, dtype=torch.long))
    seats = torch.ones(20, dtype=torch.long)
    view = View(boards, torch.arange(20), seats, seen_by(boards, seats), None, seats == 0)
    move = TreeSearch(200).act(view)
    assert move.actions.tolist() == 20 * [2]
    assert move.shares is not None
    assert torch.allclose(move.shares.sum(1), torch.ones(20))


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
