"""Faults that users of other libraries have reported, re-created: here each comes out right.

The table of them, with the libraries and their numbers, stands in `plugins/games/README.md`.
"""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from framework.errors import UserError
from framework.gradients.off_policy.dqn import DQN
from framework.gradients.off_policy.sac import SAC
from framework.gradients.off_policy.target_networks import TargetNetworks
from framework.gradients.policy_gradient.actor_critic import A2C
from framework.gradients.policy_gradient.advantages import Transitions, td_lambda, vtrace
from framework.gradients.registered import make_estimator
from framework.replay import ReplayPlan
from plugins.games.policies.actions import GumbelMaxCategorical, mask_logits
from plugins.games.task import Game
from tests.plugins.games.counter import LENGTH, Counter, game_of, vectors

MODES = list(AutoresetMode)
CRITIC: dict[str, Any] = {"games": 2, "hidden": [8], "critic": "action_value"}


class Echo(Counter):
    """Earns the action that it was given."""

    def __init__(self, actions: Any) -> None:
        super().__init__()
        self.action_space = actions

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        seen, _, *rest = super().step(action)
        return seen, float(numpy.sum(action)), *rest


class Reused(Counter):
    """Returns the same array from every step, changed in place."""

    def __init__(self) -> None:
        super().__init__(100)
        self.array = numpy.zeros(1, dtype=numpy.float32)

    def seen(self) -> Any:
        self.array[0] = self.clock
        return self.array


def transitions(
    rewards: list[float],
    values: list[float],
    next_values: list[float],
    *,
    terminated: tuple[int, ...] = (),
    truncated: tuple[int, ...] = (),
) -> Transitions:
    """Steps of one game, the numbers of those that end an episode in either way."""
    steps = len(rewards)
    return Transitions(
        torch.tensor(rewards).unsqueeze(1),
        torch.tensor(values).unsqueeze(1),
        torch.tensor(next_values).unsqueeze(1),
        terminated=torch.tensor([[t in terminated] for t in range(steps)]),
        truncated=torch.tensor([[t in truncated] for t in range(steps)]),
        valid=torch.ones(steps, 1, dtype=torch.bool),
    )


def replay(game: Game, estimator: Any) -> Any:
    return next(game.batches(game.program(estimator), 0, 0))


@pytest.mark.parametrize("mode", MODES)
def test_a_truncated_episodes_last_observation_is_replayed_and_bootstrapped(mode):
    game = Game(environment=vectors(lambda i: Counter(LENGTH), mode), **CRITIC)
    batch = replay(game, DQN(warmup_steps=60, batch_size=300, discount=0.9))
    last = batch.observations[:, 0] == LENGTH - 1
    assert last.any()
    assert (batch.next_observations[last] == LENGTH).all()
    torch.testing.assert_close(batch.discounts, torch.full_like(batch.discounts, 0.9))


def test_with_lambda_zero_the_state_before_the_last_one_is_worth_what_the_last_one_is():
    """A, B, C and a reward of 1 that ends the game; then the same cut off by a time limit where V = 5."""
    values, ahead = [0.1, 0.4, 0.7], [0.4, 0.7, 5.0]
    over = transitions([0.0, 0.0, 1.0], values, ahead, terminated=(2,))
    assert td_lambda(over, 0.9, 0.0)[:, 0].tolist() == pytest.approx([0.36, 0.63, 1.0])
    cut_off = transitions([0.0, 0.0, 1.0], values, ahead, truncated=(2,))
    assert td_lambda(cut_off, 0.9, 0.0)[:, 0].tolist() == pytest.approx([0.36, 0.63, 5.5])


def test_v_trace_takes_nothing_from_the_episode_after_a_truncated_one():
    """Where two steps are cut off, V is 2; the next episode's 100 must not be seen."""
    steps = transitions(
        [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 100.0, 100.0], [1.0, 2.0, 100.0, 100.0], truncated=(1,)
    )
    targets, advantages = vtrace(steps, torch.ones(4, 1), 0.5)
    # v_1 = 1 + 2 / 2 and v_0 = 1 + v_1 / 2.
    assert targets[:2, 0].tolist() == pytest.approx([2.0, 2.0])
    assert advantages[:2, 0].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("mode", MODES)
def test_the_size_of_returns_counts_no_reset_and_begins_again_with_each_episode(mode):
    """Of episodes of 2 steps that earn 1 each: returns 1 and 2 without a discount, a mean square of 5/2."""
    game = game_of(lambda i: Counter(2), 3, mode, rollout_steps=12, normalise_returns=True)
    rollout = next(game.batches(game.program(A2C(discount=1.0)), 0, 0))
    scale = game.model.return_scale
    assert scale is not None
    assert int(scale.count) == int(rollout.valid.sum()) == (24 if mode == MODES[0] else 36)
    assert float(scale.square / scale.count) == pytest.approx(2.5)


def test_a_reward_belongs_to_the_observation_before_it():
    class Telling(Counter):
        def step(self, action: Any) -> Any:
            seen, _, *rest = super().step(action)
            return seen, 10.0 * self.clock, *rest

    game = game_of(lambda i: Telling(), 2, rollout_steps=9)
    rollout = next(game.batches(game.program(A2C()), 0, 0))
    expected = 10 * (rollout.observations[:-1, :, 0] + 1)
    assert torch.equal(rollout.rewards[rollout.valid], expected[rollout.valid])


def test_an_array_that_an_environment_changes_in_place_is_not_what_was_kept():
    def shared(num_envs: int) -> Any:
        return SyncVectorEnv([Reused] * num_envs, copy=False)

    game = Game(environment=shared, games=2, hidden=[8], rollout_steps=6)
    rollout = next(game.batches(game.program(A2C()), 0, 0))
    assert rollout.observations[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    batch = replay(Game(environment=shared, **CRITIC), DQN(warmup_steps=20, batch_size=100))
    assert torch.equal(batch.next_observations, batch.observations + 1)


def test_target_networks_move_as_often_after_being_saved_and_restored():
    parameter, networks = torch.tensor([0.0]), TargetNetworks(tau=1.0, every=3)
    seen = []
    for number in range(10):
        again = TargetNetworks(tau=1.0, every=3)
        again.load_state_dict(networks.state_dict())
        networks = again
        networks.follow({"w": parameter.fill_(number)})
        seen.append(float(networks.values["w"]))
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9]


@pytest.mark.parametrize("warmup", [60, 2])
def test_a_replayed_action_is_the_one_that_was_played_by_chance_and_by_the_policy(warmup):
    """The critic reads numbers from -1 to 1; the environment is given 1.5 + 3.5 times them."""
    game = Game(
        environment=vectors(lambda i: Echo(Box(-2, 5, (1,), numpy.float32))),
        **CRITIC,
        continuous="squashed",
    )
    batches = game.batches(game.program(SAC(warmup_steps=warmup, batch_size=200)), 0, 0)
    for _ in range(31 - warmup // 2):
        batch = next(batches)
    assert len(batch.actions.unique()) > 20
    assert float(batch.actions.abs().max()) <= 1
    torch.testing.assert_close(1.5 + 3.5 * batch.actions[:, 0], batch.rewards)


@pytest.mark.parametrize("actions", [Discrete(3, start=-1), Discrete(2, start=10)])
def test_an_action_space_that_starts_elsewhere_is_played_from_there(actions):
    game = Game(environment=vectors(lambda i: Echo(actions)), **CRITIC)
    batch = replay(game, DQN(warmup_steps=60, batch_size=200))
    assert torch.equal(batch.actions + int(actions.start), batch.rewards.long())
    assert len(batch.actions.unique()) == actions.n
    assert actions.contains(game.act(numpy.zeros(1, dtype=numpy.float32)))


def test_several_choices_that_start_elsewhere_are_played_from_there():
    actions = MultiDiscrete([2, 11], start=[0, 25])
    game = game_of(lambda i: Echo(actions), 4, rollout_steps=20)
    rollout = next(game.batches(game.program(A2C()), 0, 0))
    expected = rollout.actions.sum(-1) + 25
    assert torch.equal(rollout.rewards[rollout.valid].long(), expected[rollout.valid])
    assert actions.contains(game.act(numpy.zeros(1, dtype=numpy.float32)))


def test_exploration_may_fall_within_a_single_step_and_not_within_none():
    plan = ReplayPlan(
        capacity=2, batch_size=1, warmup_steps=1, steps_per_update=1, epsilon=(1.0, 0.1, 1)
    )
    assert [plan.epsilon_after(k) for k in (0, 1, 2)] == pytest.approx([1.0, 0.1, 0.1])
    with pytest.raises(
        UserError, match=r"estimator.epsilon_steps = 0: expected greater than or equal to 1"
    ):
        make_estimator("dqn", None, {"epsilon_steps": 0})


def test_a_masked_choice_of_large_logits_is_a_distribution_with_a_finite_gradient():
    torch.manual_seed(0)
    logits = (1e4 * torch.randn(50, 6)).requires_grad_()
    mask = torch.rand(50, 6) < 0.5
    mask[:, 0] = True
    policy = GumbelMaxCategorical(mask_logits(logits, mask))
    torch.testing.assert_close(policy.probs.sum(-1), torch.ones(50))
    assert (policy.probs[~mask] == 0).all()
    assert mask.gather(1, policy.sample().unsqueeze(1)).all()
    (policy.entropy().sum() + policy.log_prob(torch.zeros(50, dtype=torch.long)).sum()).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[~mask] == 0).all()


def test_an_evaluation_counts_long_episodes_as_often_as_short_ones():
    """Half of the games last 1 step, the others 9: by the first episodes to end the mean would be near 1."""
    game = game_of(lambda i: Counter(1 if i % 2 else 9), 2, evaluation_episodes=8)
    metrics = game.evaluate(0)
    assert metrics["return_mean"] == metrics["length_mean"] == 5.0
