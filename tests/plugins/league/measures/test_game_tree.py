"""Exact values: known numbers of Kuhn and Leduc poker, equilibria, mixtures."""

import pytest
import torch

from framework import UserError
from plugins.league.measures.game_tree import GameTree
from plugins.league.opponents import seen_by
from plugins.league.rules.connect_four import ConnectFour
from plugins.league.rules.kuhn import BET, DECISIONS, FIRST, PASSED, PASSED_BET, Kuhn
from plugins.league.rules.leduc import Leduc
from plugins.league.rules.matrix import ROCK_PAPER_SCISSORS, Matrix

KUHN = GameTree(Kuhn(1))


def kuhn_equilibrium(alpha):
    """Kuhn's equilibria: the first player bets a jack with probability alpha (Kuhn 1950)."""
    bets = {
        FIRST: (alpha, 0.0, 3 * alpha),
        PASSED_BET: (0.0, alpha + 1 / 3, 1.0),
        PASSED: (1 / 3, 0.0, 1.0),
        BET: (0.0, 1 / 3, 1.0),
    }
    seen = KUHN.observations["observation"]
    chances = [bets[DECISIONS[int(row[3:].argmax())]][int(row[:3].argmax())] for row in seen]
    bet = torch.tensor(chances)
    return torch.stack([1 - bet, bet], 1)


def test_kuhn_has_12_information_sets_and_the_known_nash_conv_of_the_uniform_policy():
    assert KUHN.count == 12
    assert KUHN.nash_conv(KUHN.uniform()) == pytest.approx(11 / 12, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1 / 3])
def test_kuhns_equilibria_have_no_nash_conv_and_the_value_of_minus_an_eighteenth(alpha):
    table = kuhn_equilibrium(alpha)
    assert KUHN.nash_conv(table) == pytest.approx(0, abs=1e-6)
    assert float(KUHN.value(table)) == pytest.approx(-1 / 18, abs=1e-6)


def test_leduc_has_288_information_sets_of_ranks_and_the_known_nash_conv():
    tree = GameTree(Leduc(1))
    assert tree.count == 288
    assert tree.nash_conv(tree.uniform()) == pytest.approx(4.7472, abs=5e-5)


def test_a_matrix_games_best_responses_and_equilibrium():
    tree = GameTree(Matrix(1))
    rock = torch.eye(3)[[0, 0]]
    gained, response = tree.best_response(rock, 1)
    # Paper beats rock and wins 1.
    assert float(gained) == 1
    assert response[tree.player == 1].tolist() == [[0, 1, 0]]
    mixed = torch.tensor([[0.25, 0.5, 0.25]]).expand(2, -1)
    assert tree.nash_conv(mixed) == pytest.approx(0, abs=1e-6)


def test_a_repeated_game_remembers_what_was_chosen():
    tree = GameTree(Matrix(1, rounds=2))
    # Of either player: one in the first round, one after each of 9 pairs in the second.
    assert tree.count == 2 * (1 + 9)
    assert tree.nash_conv(tree.uniform()) == pytest.approx(2 * 2 / 3, abs=1e-6)
    assert float(tree.value(tree.uniform())) == pytest.approx(0, abs=1e-6)
    assert torch.tensor(ROCK_PAPER_SCISSORS).sum() == 0


def test_a_mixture_is_worth_the_mean_of_its_parts():
    torch.manual_seed(0)
    tables = [torch.rand(12, 2) for _ in range(3)]
    tables = [table / table.sum(1, keepdim=True) for table in tables]
    weights = [1.0, 2.0, 3.0]
    mixture = KUHN.average(tables, weights)
    rival = kuhn_equilibrium(0.1)
    for sides in (lambda t: (t, rival), lambda t: (rival, t)):
        whole = sum(w * KUHN.value(*sides(t)) for w, t in zip(weights, tables, strict=True)) / 6
        assert float(KUHN.value(*sides(mixture))) == pytest.approx(float(whole), abs=1e-6)


def test_a_best_response_gains_what_it_says_it_gains():
    torch.manual_seed(1)
    tree = GameTree(Leduc(1))
    table = tree.uniform() * (0.5 + torch.rand(tree.mask.shape))
    table = table / table.sum(1, keepdim=True)
    first, response = tree.best_response(table, 0)
    assert float(tree.value(response, table)) == pytest.approx(float(first), abs=1e-5)
    second, response = tree.best_response(table, 1)
    assert float(tree.value(table, response)) == pytest.approx(-float(second), abs=1e-5)


def test_a_game_of_chance_and_skill_too_large_for_a_table_is_refused():
    with pytest.raises(UserError, match="ConnectFour: it cannot be dealt in all ways"):
        GameTree(ConnectFour(1))


def test_nash_conv_is_openspiels():
    pyspiel = pytest.importorskip("pyspiel")
    game = pyspiel.load_game("kuhn_poker")
    torch.manual_seed(2)
    table = torch.rand(12, 2)
    table = table / table.sum(1, keepdim=True)
    entries = {}
    seen = KUHN.observations["observation"]
    for row, chances in zip(seen, table.tolist(), strict=True):
        history = f"{DECISIONS[int(row[3:].argmax())]:b}"[1:].replace("0", "p").replace("1", "b")
        entries[f"{int(row[:3].argmax())}{history}"] = list(enumerate(chances))
    theirs = pyspiel.nash_conv(game, pyspiel.TabularPolicy(entries))
    assert KUHN.nash_conv(table) == pytest.approx(theirs, abs=1e-5)


def test_the_example_of_an_information_set_is_seen_as_it():
    for tree in (KUHN, GameTree(Leduc(1)), GameTree(Matrix(1))):
        seen = seen_by(tree.examples, tree.player)
        assert torch.equal(seen["observation"], tree.observations["observation"])


def test_how_often_play_comes_to_an_information_set():
    # Each card a third; after a pass, which is always made, all but the second player's own card are as likely.
    always_pass = torch.tensor([[1.0, 0.0]]).repeat(KUHN.count, 1)
    first = KUHN.observations["observation"][:, 3:].argmax(1)
    expected = torch.tensor([{FIRST: 1 / 3, PASSED: 1 / 3}.get(DECISIONS[h], 0.0) for h in first])
    assert torch.allclose(KUHN.visits(always_pass), expected)
    # An equilibrium's first player bets a king and a third of the jacks: it is answered 4 times in 9.
    visits = KUHN.visits(kuhn_equilibrium(1 / 3))
    bet = torch.tensor([DECISIONS[h] == BET for h in first])
    assert float(visits[bet].sum()) == pytest.approx(4 / 9, abs=1e-6)
