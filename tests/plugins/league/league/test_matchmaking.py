"""Whom a learner meets: AlphaStar's parts, weightings and exceptions."""

import pytest
import torch

from plugins.league.league.matchmaking import MATCHMAKING, Standing, prioritised
from plugins.league.league.payoffs import Payoffs, by_opponent

ROLES = {
    "main": "main",
    "main_exploiter_1": "main_exploiter",
    "league_exploiter_1": "league_exploiter",
}


def standing(rates, snapshots):
    """Win rates of (player, opponent) after many matches."""
    payoffs = Payoffs()
    for (player, opponent), rate in rates.items():
        payoffs.table[player, opponent] = (1e6, rate * 1e6)
    own = {name: [] for name in ROLES} | snapshots
    return Standing(payoffs, own, ROLES)


def test_the_published_weightings():
    assert prioritised([0.5, 0.75], "squared") == pytest.approx([0.8, 0.2])
    assert prioritised([0.5, 0.9], "variance") == pytest.approx([0.25 / 0.34, 0.09 / 0.34])
    assert prioritised([0.0, 0.5, 0.75], "linear_capped") == pytest.approx([0.4, 0.4, 0.2])
    assert prioritised([0.0, 0.5, 0.5], "linear") == pytest.approx([0.5, 0.25, 0.25])
    # Nobody is left to be beaten.
    assert prioritised([1.0, 1.0], "squared") == [0.5, 0.5]


def test_a_main_agent_without_past_plays_itself():
    assert MATCHMAKING["main"]("main", standing({}, {})) == {"main": 1.0}


def test_a_main_agent_spends_half_of_its_matches_on_the_past():
    rates = {("main", "main-0"): 0.9, ("main", "league_exploiter_1-0"): 0.5}
    now = standing(rates, {"main": ["main-0"], "league_exploiter_1": ["league_exploiter_1-0"]})
    chosen = MATCHMAKING["main"]("main", now)
    assert sum(chosen.values()) == pytest.approx(1)
    # Weights 0.01 and 0.25 of one half; nobody is unbeaten, so that the rest is against itself.
    assert chosen["main-0"] == pytest.approx(0.5 * 0.01 / 0.26, rel=1e-4)
    assert chosen["main"] == pytest.approx(0.5)


def test_a_main_agent_meets_a_strong_exploiter_and_forgotten_selves_more_often():
    rates = {("main", "main-0"): 0.9, ("main", "main_exploiter_1-0"): 0.1}
    now = standing(rates, {"main": ["main-0"], "main_exploiter_1": ["main_exploiter_1-0"]})
    chosen = MATCHMAKING["main"]("main", now)
    assert chosen["main"] == pytest.approx(0.35)
    assert chosen["main_exploiter_1-0"] == pytest.approx(0.5 * 0.81 / 0.82 + 0.15, rel=1e-4)
    forgotten = standing({("main", "main-0"): 0.6}, {"main": ["main-0"]})
    assert MATCHMAKING["main"]("main", forgotten)["main-0"] == pytest.approx(0.65)


def test_a_main_exploiter_plays_the_main_agent_unless_it_is_hopeless():
    player = "main_exploiter_1"
    snapshots = {"main": ["main-0", "main-1"]}
    hopeful = standing({(player, "main"): 0.2}, snapshots)
    assert MATCHMAKING["main_exploiter"](player, hopeful) == {"main": 1.0}
    rates = {(player, "main"): 0.05, (player, "main-0"): 0.5, (player, "main-1"): 0.1}
    chosen = MATCHMAKING["main_exploiter"](player, standing(rates, snapshots))
    assert chosen["main-0"] == pytest.approx(0.25 / 0.34, rel=1e-4)


def test_a_league_exploiter_plays_all_past_players():
    player = "league_exploiter_1"
    rates = {(player, "main-0"): 0.75, (player, "main_exploiter_1-0"): 0.2}
    now = standing(rates, {"main": ["main-0"], "main_exploiter_1": ["main_exploiter_1-0"]})
    chosen = MATCHMAKING["league_exploiter"](player, now)
    assert chosen == pytest.approx({"main-0": 1 / 3, "main_exploiter_1-0": 2 / 3}, rel=1e-4)


def test_fictitious_play_meets_the_linearly_weighted_average_of_its_snapshots():
    own = ["main-0", "main-1", "main-2", "main-3"]
    chosen = MATCHMAKING["average"]("main", standing({}, {"main": own}))
    assert chosen == pytest.approx(dict(zip(own, [0.1, 0.2, 0.3, 0.4], strict=True)))
    assert MATCHMAKING["average"]("main", standing({}, {})) == {"main": 1.0}


def test_payoffs_count_wins_draws_and_defeats_and_remember_the_latest():
    payoffs = Payoffs()
    payoffs.add("a", by_opponent(["b", "b", "c", "b"], torch.tensor([1.0, 0.5, 0.0, 0.0])))
    assert payoffs.table == {("a", "b"): (3, 1.5), ("a", "c"): (1, 0)}
    # Drawn to one half by one match.
    assert payoffs.win_rate("a", "b") == 0.5
    assert payoffs.win_rate("a", "c") == 0.25
    assert payoffs.win_rate("a", "d") == 0.5
    for _ in range(20):
        payoffs.add("a", by_opponent(["c"] * 1000, torch.ones(1000)))
    assert payoffs.table["a", "c"][0] == 1000
    assert payoffs.win_rate("a", "c") > 0.999
    kept = Payoffs()
    kept.load_state_dict(payoffs.state_dict())
    assert kept.table == payoffs.table
    payoffs.forget("a")
    assert payoffs.table == {}
