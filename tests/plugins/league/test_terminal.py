"""A person against a player in a terminal: moves by their words, nonsense refused, the end told."""

import torch

from plugins.league.opponents import Move, Opponent, RandomPlayer
from plugins.league.rules.connect_four import ConnectFour
from plugins.league.rules.kuhn import Kuhn
from plugins.league.rules.matrix import Matrix
from plugins.league.terminal import play


class Bets(Opponent):
    def act(self, view):
        return Move(torch.ones(len(view.boards), dtype=torch.long))


def played(rules, player, person, lines):
    """What a person who types these lines wins, and what is shown."""
    said, typed = [], iter(lines)
    won = play(rules, player, person, 3, ask=lambda prompt: next(typed), say=said.append)
    return won, "\n".join(said)


def test_a_fold_loses_the_ante_and_the_cards_are_shown():
    won, said = played(Kuhn(1), Bets(), 0, ["raise", "pass", "Pass "])
    assert won == -1
    assert "'raise' is no move here." in said
    assert "It plays bet." in said
    assert "You lose 1." in said
    assert "The first player held" in said


def test_a_person_may_be_the_second_player_and_leave():
    won, said = played(Kuhn(1), Bets(), 1, ["q"])
    assert won is None
    assert "So far: bet." in said


def test_four_in_a_column_win():
    class Right(Opponent):
        def act(self, view):
            return Move(torch.full((len(view.boards),), 6))

    won, said = played(ConnectFour(1), Right(), 0, ["1", "1", "1", "1"])
    assert won == 1
    assert said.endswith("You win 1.")
    assert "X . . . . . O" in said


def test_both_choose_at_once():
    won, _ = played(Matrix(1, rounds=2), RandomPlayer(), 0, ["0", "1"])
    assert won in {-2, -1, 0, 1, 2, 3}
