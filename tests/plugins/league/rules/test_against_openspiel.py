"""Rules move by move against OpenSpiel's: who moves, what is allowed, what is won, when it ends."""

import itertools
import random

import pytest
import torch

from plugins.league.rules.connect_four import ConnectFour
from plugins.league.rules.kuhn import Kuhn
from plugins.league.rules.leduc import Leduc
from plugins.league.rules.matrix import Matrix
from plugins.league.rules.tic_tac_toe import TicTacToe

pyspiel = pytest.importorskip("pyspiel")


def begun(rules, state):
    """OpenSpiel's state after the cards of board 0 have been dealt, and all cards."""
    if "cards" not in rules.state:
        return state, [0, 0, 0]
    cards = rules.state["cards"][0].tolist()
    # Of Leduc's six cards the two of a rank follow each other; each is dealt once.
    suits = 2 if isinstance(rules, Leduc) else 1
    dealt = [
        suits * card + (cards[:i].count(card) if suits == 2 else 0) for i, card in enumerate(cards)
    ]
    for card in dealt[:2]:
        state.apply_action(card)
    return state, dealt


@pytest.mark.parametrize(
    ("kind", "name", "matches"),
    [
        (TicTacToe, "tic_tac_toe", 40),
        (ConnectFour, "connect_four", 40),
        (Kuhn, "kuhn_poker", 60),
        (Leduc, "leduc_poker", 200),
    ],
)
def test_every_move_of_random_matches_is_openspiels(kind, name, matches):
    game, chance = pyspiel.load_game(name), random.Random(5)
    torch.manual_seed(7)
    rules = kind(matches)
    rules.restart()
    states, publics = [], []
    for board in range(matches):
        one = rules.select(torch.tensor([board]))
        state, dealt = begun(one, game.new_initial_state())
        states.append(state)
        publics.append(dealt[2:])
    going, length = torch.ones(matches, dtype=torch.bool), 0
    earned = torch.zeros(matches)
    while going.any():
        length += 1
        both = torch.zeros(2, matches, dtype=torch.long)
        movers = rules.to_move
        masks = [rules.mask(torch.full((matches,), player)) for player in range(2)]
        for board, state in enumerate(states):
            if not going[board]:
                assert not movers[:, board].any()
                continue
            player = state.current_player()
            assert movers[:, board].tolist() == [player == 0, player == 1]
            legal = state.legal_actions()
            assert masks[player][board].nonzero().flatten().tolist() == legal
            both[player, board] = chance.choice(legal)
        payoff, ended = rules.play(both, going)
        earned += payoff
        for board, state in enumerate(states):
            if not going[board]:
                assert payoff[board] == 0
                assert not ended[board]
                continue
            state.apply_action(int(both[state.current_player(), board]))
            if state.is_chance_node():
                state.apply_action(publics[board][0])
            assert ended[board] == state.is_terminal()
            if state.is_terminal():
                assert earned[board] == state.returns()[0]
        going &= ~ended
    assert length <= rules.longest


def test_a_matrix_game_pays_what_openspiels_pays():
    payoffs = [[0.0, -1.0, 2.0], [1.0, 0.0, -1.0], [-2.0, 1.0, 0.0]]
    theirs = pyspiel.create_matrix_game(payoffs, [[-x for x in row] for row in payoffs])
    rules = Matrix(9, payoffs=payoffs)
    rules.restart()
    pairs = list(itertools.product(range(3), repeat=2))
    payoff, ended = rules.play(torch.tensor(pairs).T, torch.ones(9, dtype=torch.bool))
    assert ended.all()
    for pair, gained in zip(pairs, payoff.tolist(), strict=True):
        state = theirs.new_initial_state()
        state.apply_actions(list(pair))
        assert state.returns()[0] == gained
