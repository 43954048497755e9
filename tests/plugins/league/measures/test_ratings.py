"""Elo ratings, a tournament's table, and the equilibrium of a matrix game."""

import math

import pytest
import torch

from plugins.league.arena import Arena
from plugins.league.measures.elo import ratings
from plugins.league.measures.matrix_game import equilibrium
from plugins.league.measures.tournament import tournament
from plugins.league.opponents import RandomPlayer
from plugins.league.players.minimax import Minimax
from plugins.league.rules.tic_tac_toe import TicTacToe


def test_ratings_follow_from_scores():
    matches = torch.tensor([[0.0, 1e6], [1e6, 0.0]])
    scores = torch.tensor([[0.0, 0.75e6], [0.25e6, 0.0]])
    found = ratings(matches, scores)
    # Odds of 3 to 1.
    assert float(found.points[0] - found.points[1]) == pytest.approx(400 * math.log10(3), abs=0.1)
    assert float(found.points.mean()) == pytest.approx(0, abs=1e-3)


def test_errors_shrink_with_the_root_of_the_matches():
    def error(number):
        matches = torch.tensor([[0.0, number], [number, 0.0]])
        return float(ratings(matches, matches / 2).errors[0])

    assert error(400.0) / error(1600.0) == pytest.approx(2, rel=0.01)
    # Of the log-odds 1 / sqrt(n p q), of which each has one half.
    assert error(1e4) == pytest.approx(400 / math.log(10) / 100, rel=0.01)


def test_intervals_hold_the_true_ratings():
    """Simulated matches of known strengths: standardised errors have a variance of about 1."""
    torch.manual_seed(0)
    strength = torch.tensor([-0.8, -0.2, 0.0, 0.4, 0.6])
    true = 400 / math.log(10) * strength - 400 / math.log(10) * strength.mean()
    departures = []
    for _ in range(60):
        chance = (strength.unsqueeze(1) - strength).sigmoid()
        won = torch.distributions.Binomial(200, chance).sample().triu(1)
        played = torch.full((5, 5), 200.0).triu(1)
        scores = won + (played - won).T
        found = ratings(played + played.T, scores)
        departures.append((found.points - true) / found.errors)
    variance = float(torch.stack(departures).square().mean())
    assert abs(variance - 1) < 0.25


def test_a_player_that_never_won_has_a_finite_rating():
    matches = torch.tensor([[0.0, 10.0], [10.0, 0.0]])
    found = ratings(matches, torch.tensor([[0.0, 10.0], [0.0, 0.0]]))
    assert 0 < float(found.points[0]) < 1000
    assert torch.isfinite(found.errors).all()


def test_a_tournament_counts_each_pair_from_both_sides():
    players = {"random": RandomPlayer(), "search": Minimax(2), "chance": RandomPlayer()}
    table = tournament(players, Arena(lambda: TicTacToe(60)), 1)
    assert table.matches.tolist() == [[0, 60, 60], [60, 0, 60], [60, 60, 0]]
    assert torch.equal(table.scores + table.scores.T, table.matches)
    assert table.rates[1, 0] > 0.7
    points = table.ratings().points
    assert points[1] > points[0]
    assert points[1] > points[2]


def test_the_equilibrium_of_a_matrix_game():
    payoffs = torch.tensor([[0.0, -1.0, 2.0], [1.0, 0.0, -1.0], [-2.0, 1.0, 0.0]])
    rows, columns = equilibrium(payoffs)
    for mixed in (rows, columns):
        assert mixed.tolist() == pytest.approx([0.25, 0.5, 0.25], abs=2e-3)
    # A dominated row is not played.
    rows, columns = equilibrium(torch.tensor([[3.0, 1.0], [2.0, 0.0]]))
    assert rows.tolist() == pytest.approx([1, 0], abs=1e-3)
    assert columns.tolist() == pytest.approx([0, 1], abs=1e-3)
