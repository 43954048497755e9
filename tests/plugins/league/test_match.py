"""Matches as games of one player: seats, turns, rewards, results and the masks."""

import torch

from plugins.games.policies.bodies import MASK
from plugins.league.arena import duel, scores
from plugins.league.match import Match
from plugins.league.opponents import Move, Opponent, RandomPlayer
from plugins.league.rules.connect_four import ConnectFour
from plugins.league.rules.kuhn import BET, FIRST, Kuhn
from plugins.league.rules.leduc import Leduc
from plugins.league.rules.matrix import Matrix
from plugins.league.rules.tic_tac_toe import TicTacToe


class Always(Opponent):
    """Takes one action whenever it is allowed, else the first that is."""

    def __init__(self, action):
        self.action = action
        self.boards = 0

    def act(self, view):
        mask = view.observation[MASK].bool()
        assert (view.rules.to_move[view.player, view.boards]).all()
        self.boards += len(view.boards)
        wished = torch.full((len(view.boards),), self.action)
        first = mask.int().argmax(1)
        return Move(torch.where(mask[torch.arange(len(wished)), wished], wished, first))


def test_the_learner_takes_each_side_in_turn():
    match = Match(Kuhn(4), {"bets": Always(1)}, ["bets"])
    match.reset(0)
    assert match.seat.tolist() == [0, 1, 0, 1]
    # Player 1's board already holds the opponent's bet.
    assert match.rules.state["history"].tolist() == [FIRST, BET, FIRST, BET]
    # To bet is answered by a bet, and to answer a bet ends the match: all four have ended.
    outcome = match.step(torch.ones(4, dtype=torch.long))
    assert outcome.terminated.all()
    assert outcome.episode_start.all()
    assert outcome.rewards.abs().tolist() == [2, 2, 2, 2]
    assert match.seat.tolist() == [1, 0, 1, 0]


def test_a_fold_costs_the_ante_and_what_the_learner_gains_is_its_own():
    match = Match(Kuhn(2), {"bets": Always(1)}, ["bets"])
    match.reset(1)
    # On board 0 the learner passes, the opponent bets, and it is asked again; on board 1 it folds.
    outcome = match.step(torch.zeros(2, dtype=torch.long))
    assert outcome.rewards.tolist() == [0, -1]
    assert outcome.terminated.tolist() == [False, True]
    assert match.step(torch.zeros(2, dtype=torch.long)).rewards[0] == -1
    payoffs = torch.cat([result.payoffs for result in match.take_results()])
    assert payoffs.tolist()[:2] == [-1, -1]
    assert match.take_results() == []


def test_a_new_match_is_not_charged_for_the_opponents_moves_in_the_one_before():
    match = Match(Kuhn(2), {"bets": Always(1)}, ["bets"], regularisation=1.0)
    match.reset(0)
    match.surprise = torch.tensor([5.0, 5.0])
    match.begin(torch.tensor([True, False]))
    assert match.surprise.tolist() == [0, 5]


def test_results_add_up_to_the_rewards_in_every_game():
    for kind in (Kuhn, Leduc, TicTacToe, ConnectFour, lambda n: Matrix(n, rounds=3)):
        match = Match(kind(32), {"random": RandomPlayer()}, ["random"])
        torch.manual_seed(3)
        seen, earned, ended = match.reset(3), 0.0, 0
        for _ in range(25):
            assert isinstance(seen, dict)
            mask = seen[MASK].bool()
            assert (match.rules.to_move[match.seat, torch.arange(32)]).all()
            assert mask.any(1).all()
            outcome = match.step(torch.rand(mask.shape).masked_fill(~mask, -1).argmax(1))
            earned += float(outcome.rewards.sum())
            ended += int(outcome.terminated.sum())
            seen = outcome.observations
        results = match.take_results()
        total = sum(float(result.payoffs.sum()) for result in results)
        # Of a repeated game a part of the rewards is of matches under way.
        assert sum(len(result.opponents) for result in results) == ended
        assert abs(earned - total - float(match.earned.sum())) < 1e-3


def test_the_same_seed_gives_the_same_matches_and_a_saved_state_goes_on():
    def played(match, steps):
        torch.manual_seed(5)
        return [match.step(torch.zeros(8, dtype=torch.long)).rewards for _ in range(steps)]

    def fresh():
        match = Match(Leduc(8), {"random": RandomPlayer(), "folds": Always(0)}, ["random", "folds"])
        match.reset(2)
        return match

    first, again = fresh(), fresh()
    assert torch.equal(torch.stack(played(first, 5)), torch.stack(played(again, 5)))
    resumed = Match(Leduc(8), first.players, ["random"])
    resumed.load_state_dict(first.state_dict())
    assert torch.equal(torch.stack(played(first, 6)), torch.stack(played(resumed, 6)))
    assert [first.names[i] for i in first.opponent] == [resumed.names[i] for i in resumed.opponent]


def test_opponents_are_drawn_as_often_as_their_places():
    match = Match(Kuhn(4000), {"a": Always(0), "b": Always(1)}, ["a", "b", "b", "b"])
    match.reset(0)
    share = float((match.opponent == match.names.index("b")).float().mean())
    # Its standard deviation is 0.007.
    assert abs(share - 0.75) < 0.03


def test_a_duel_lets_both_begin_as_often():
    # Who begins with a bet that is always folded wins the ante.
    won = duel(Kuhn(10), Always(1), Always(0), 0)
    assert won.tolist() == [1] * 10
    assert scores(torch.tensor([2.0, -1.0, 0.0])).tolist() == [1, 0, 0.5]


def test_shaping_changes_rewards_and_no_result():
    class Shaped(Kuhn):
        def progress(self):
            return self.state["cards"][:, 0].float() + 1

    plain = Match(Kuhn(6), {"bets": Always(1)}, ["bets"])
    shaped = Match(Shaped(6), {"bets": Always(1)}, ["bets"], shaping=0.5)
    for match in (plain, shaped):
        match.reset(4)
    cards = shaped.rules.state["cards"][:, 0] + 1
    potential = torch.where(shaped.seat == 0, cards, -cards)
    rewards = [match.step(torch.ones(6, dtype=torch.long)).rewards for match in (plain, shaped)]
    # All six have ended: the potential falls to 0.
    assert torch.equal(rewards[1] - rewards[0], -0.5 * potential)
    results = [torch.cat([r.payoffs for r in match.take_results()]) for match in (plain, shaped)]
    assert torch.equal(*results)
