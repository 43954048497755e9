"""Boards by one kernel for many moves are those that are played move by move."""

from __future__ import annotations

import pytest
import torch

from plugins.league.rules.boards import BoardRules
from plugins.league.rules.connect_four import ConnectFour
from plugins.league.rules.tic_tac_toe import TicTacToe
from tests.kernels import interpreted

# Moves of two matches at least: none of Connect Four has more than 42.
BOARDS, MOVES = 6, 84
KINDS = pytest.mark.parametrize("kind", [ConnectFour, TicTacToe])


def played_one_by_one(rules: BoardRules, moves: int) -> dict[str, list[torch.Tensor]]:
    """Random moves that are allowed, by the rules in torch."""
    everywhere = torch.ones(rules.boards, dtype=torch.bool)
    found: dict[str, list[torch.Tensor]] = {
        name: [] for name in ("own", "occupied", "second", "actions", "gained", "ended")
    }
    for _ in range(moves):
        allowed = rules.mask(rules.state["second"].long()).float()
        actions = torch.multinomial(allowed, 1).squeeze(1)
        for name in ("own", "occupied", "second"):
            found[name].append(rules.state[name].clone())
        gained, ended = rules.play(actions.expand(2, -1), everywhere)
        rules.restart(ended)
        for name, value in (("actions", actions), ("gained", gained), ("ended", ended)):
            found[name].append(value)
    return found


@KINDS
def test_the_kernel_plays_by_the_rules(kind):
    torch.manual_seed(0)
    rules, whole = kind(BOARDS), kind(BOARDS)
    rules.restart()
    expected = {name: torch.stack(v) for name, v in played_one_by_one(rules, MOVES).items()}
    with interpreted():
        from plugins.league.rules.boards_kernel import play

        found = play(whole, MOVES, expected["actions"])
    for name, right in expected.items():
        assert torch.equal(getattr(found, name), right), name
    for name, right in rules.state.items():
        assert torch.equal(whole.state[name], right), name
    # Each player wins, and more than one match is played on each board.
    assert set(found.gained.unique().tolist()) >= {-1.0, 1.0}
    assert found.ended.sum(0).min() > 1


@KINDS
def test_its_own_moves_are_allowed_and_each_as_likely(kind):
    rules = kind(400)
    with interpreted():
        from plugins.league.rules.boards_kernel import play

        torch.manual_seed(0)
        found = play(rules, 12)
    for own, occupied, actions in zip(found.own, found.occupied, found.actions, strict=True):
        rules.state["own"], rules.state["occupied"] = own, occupied
        assert rules.free(occupied).gather(1, actions.unsqueeze(1)).all()
    # Of an empty board: chi-squared with A - 1 degrees of freedom, beyond which one in a thousand lies.
    counts = found.actions[0].bincount(minlength=rules.choices).double()
    expected = 400 / rules.choices
    assert ((counts - expected) ** 2 / expected).sum() < {7: 22.5, 9: 26.1}[rules.choices]


def test_a_match_that_had_ended_begins_again_and_the_rest_go_on():
    rules = TicTacToe(2)
    rules.restart()
    everywhere = torch.ones(2, dtype=torch.bool)
    # On the first board the first player wins in the upper row.
    for pair in ((0, 0), (3, 1), (1, 3), (4, 4), (2, 8)):
        rules.play(torch.tensor(pair).expand(2, -1), everywhere)
    assert rules.state["ended"].tolist() == [True, False]
    with interpreted():
        from plugins.league.rules.boards_kernel import play

        found = play(rules, 1, torch.tensor([[5, 5]]))
    assert found.occupied.tolist() == [[0, 0b100011011]]
    assert rules.state["occupied"].tolist() == [0b100000, 0b100111011]
    assert not rules.state["ended"].any()
