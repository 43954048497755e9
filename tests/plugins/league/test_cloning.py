"""Imitation: a policy takes on a teacher's habits, and how far it is from another one is exact."""

import itertools

import pytest
import torch
from torch.distributions import Categorical, Independent, kl_divergence

from plugins.games.policies.actions import GumbelMaxCategorical, mask_logits
from plugins.games.policies.agent import Agent
from plugins.league.cloning import clone, divergence, lessons
from plugins.league.match import with_mask
from plugins.league.opponents import Move, Opponent, RandomPlayer
from plugins.league.rules.strategy.game import Strategy
from plugins.league.rules.tic_tac_toe import TicTacToe


class Rightwards(Opponent):
    """Everything that can goes to the right; all else waits."""

    def act(self, view):
        legal = view.observation["action_mask"].view(len(view.boards), -1, 13)
        return Move(2 * legal[..., 2].long())


@pytest.mark.slow
def test_a_clone_does_what_its_teacher_does():
    rules = Strategy(32, longest=16)
    torch.manual_seed(0)
    agent = Agent(with_mask(rules), rules.action_space, hidden=[8], encoder="units", shared=True)
    assert clone(agent, Rightwards(), rules, 0, epochs=1) < -2
    assert clone(agent, Rightwards(), rules, 0, epochs=40) > -0.2


def test_the_divergence_of_several_choices_is_the_sum_of_theirs():
    torch.manual_seed(0)
    mask = torch.rand(3, 5, 4, 6) < 0.7
    mask[..., 0] = True
    logits = torch.randn(2, 3, 5, 4, 6)
    one, other = (GumbelMaxCategorical(mask_logits(part, mask)) for part in logits)
    apart = divergence(Independent(one, 1), Independent(other, 1))
    expected = torch.zeros(3, 5)
    for t in range(3):
        for n in range(5):
            for k in range(4):
                allowed = mask[t, n, k]
                pair = [Categorical(logits=part[t, n, k][allowed]) for part in logits]
                expected[t, n] += kl_divergence(*pair)
    assert torch.allclose(apart, expected, atol=1e-5)
    assert (apart >= 0).all()


def test_what_a_teacher_won_is_told_at_every_decision_of_a_match_that_ended():
    rules = TicTacToe(16)
    found = lessons(RandomPlayer(), rules, 3, None)
    steps = len(found.won)
    starts = torch.cat([found.starts, torch.ones(1, 16, dtype=torch.bool)])
    wins = 0
    for n in range(16):
        begun = [t for t in range(steps + 1) if starts[t, n]]
        for first, after in itertools.pairwise(begun):
            if after < steps:
                payoffs = found.won[first:after, n].unique().tolist()
                assert len(payoffs) == 1
                assert found.known[first:after, n].all()
                wins += payoffs[0] != 0
    assert wins > 5
    assert found.won.abs().max() == 1
    assert not found.won[~found.known].any()
