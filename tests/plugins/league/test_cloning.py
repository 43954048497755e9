"""Imitation: a policy takes on a teacher's habits, and how far it is from another one is exact."""

import itertools

import pytest
import torch
from torch.distributions import Categorical, Independent, kl_divergence

from plugins.games.policies.actions import GumbelMaxCategorical, mask_logits
from plugins.games.policies.agent import Agent
from plugins.league.cloning import Careless, clone, divergence, fit, lessons
from plugins.league.match import with_mask
from plugins.league.opponents import Move, Opponent, RandomPlayer, View, seen_by
from plugins.league.players.minimax import Minimax
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


class First(Opponent):
    """The first action that is allowed."""

    def act(self, view):
        return Move(view.observation["action_mask"].long().argmax(1))


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_a_careless_player_makes_another_move_as_often_as_it_should(noise):
    torch.manual_seed(0)
    boards, moves = TicTacToe(4000), torch.arange(4000)
    boards.restart()
    seats = torch.zeros_like(moves)
    view = View(boards, moves, seats, seen_by(boards, seats), None, seats == 0)
    others = (Careless(First(), noise).act(view).actions != 0).float().mean()
    # One in nine of the random moves is the first one, too.
    expected = noise * 8 / 9
    assert abs(others - expected) <= 4 * (expected * (1 - expected) / 4000) ** 0.5


def test_what_a_search_would_do_is_learned_from_whatever_is_played():
    found = lessons(Minimax(1), TicTacToe(64), 3, None, noise=1.0)
    assert found.shares is not None
    assert isinstance(found.observations, dict)
    own = found.observations["observation"][:, :, 0].flatten(2).bool()
    empty = found.observations["action_mask"].bool()
    lines = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
    wins = torch.zeros_like(empty)
    for line in lines:
        for cell in line:
            others = [other for other in line if other != cell]
            wins[..., cell] |= empty[..., cell] & own[..., others].all(-1)
    winning = wins.any(-1, keepdim=True)
    best = torch.where(winning, wins, empty)
    assert winning.sum() > 50
    assert torch.allclose(found.shares, best / best.sum(-1, keepdim=True))
    # The move that it would make is one of them, and often not what came next.
    assert found.shares.gather(-1, found.actions.unsqueeze(-1)).min() > 0


def test_a_search_is_imitated_by_its_shares_and_nothing_is_said_of_actions_that_are_not_allowed():
    torch.manual_seed(0)
    rules = TicTacToe(8)
    given = lessons(Minimax(2), rules, 1, None)
    assert given.shares is not None
    agent = Agent(with_mask(rules), rules.action_space, hidden=[8])
    likely, _ = fit(agent, given, None)
    policy = agent.policy(given.observations, None, given.starts)
    assert isinstance(policy, GumbelMaxCategorical)
    expected = [
        sum(share * logit for share, logit in zip(shares, logits, strict=True) if share)
        for shares, logits in zip(
            given.shares.flatten(0, 1).tolist(), policy.logits.flatten(0, 1).tolist(), strict=True
        )
    ]
    assert likely.item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)
