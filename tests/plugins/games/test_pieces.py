"""Minibatches of steps: a rollout cut into pieces has the advantages of the whole one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from framework.errors import UserError
from framework.gradients.policy_gradient.advantages import Transitions, gae
from framework.gradients.policy_gradient.ppo import PPO
from framework.randomness import seeded
from plugins.games.pieces import in_pieces, stacked
from plugins.games.rollouts import Rollout, RolloutBuffer, begin_episodes, collect_rollout
from tests.plugins.games.counter import Counter, game_of, learn

CPU = torch.device("cpu")
DISCOUNT, DECAY = 0.9, 0.8


def rollout_of(count: int, steps: int, **options: Any) -> tuple[Any, Rollout]:
    game = game_of(
        lambda i: Counter(5 + i, i % 2 == 0),
        count,
        rollout_steps=steps,
        reward_scale=0.5,
        **options,
    )
    games = game.experience.vector(count)
    with seeded(0):
        state = begin_episodes(games, game.model, 0, CPU)
        return game, collect_rollout(games, game.model, state, RolloutBuffer(steps))[0]


def advantages_of(game: Any, rollout: Rollout) -> torch.Tensor:
    """As the estimator computes them from what the task's program reports."""
    recorded = rollout.observations, rollout.memory, rollout.episode_start
    with torch.no_grad():
        if rollout.looked_ahead is None:
            _, every = game.model.policy_and_values(*recorded)
            values, following = every[:-1], rollout.next_values(every)
        else:
            _, values = game.model.evaluate_steps(*recorded)
            following = rollout.looked_ahead
    transitions = Transitions(
        game.experience.learning_rewards(rollout.rewards),
        values,
        following,
        rollout.terminated,
        rollout.truncated,
        rollout.valid,
    )
    return gae(transitions, DISCOUNT, DECAY)


@pytest.mark.parametrize("memory", ["none", "gru", "lstm"])
@pytest.mark.parametrize("length", [1, 4, 12])
def test_pieces_have_the_advantages_of_the_whole_rollout(memory, length):
    game, rollout = rollout_of(3, 12, memory=memory)
    whole = advantages_of(game, rollout)
    rewards = game.experience.learning_rewards(rollout.rewards)
    pieces = in_pieces(rollout, game.model, rewards, length, DISCOUNT, DECAY)
    assert pieces.rewards.shape == (length, 36 // length)
    torch.testing.assert_close(advantages_of(game, pieces), stacked(whole, length))


@pytest.mark.parametrize("memory", ["none", "gru"])
@pytest.mark.parametrize(("games", "minibatches"), [(1, 4), (2, 8)])
def test_ppos_ratio_is_one_in_every_minibatch_of_the_first_epoch(memory, games, minibatches):
    game, _ = rollout_of(games, 16, memory=memory)
    estimator = PPO(clip=1e-5, epochs=2, minibatches=minibatches)
    program = game.program(estimator)
    batches = game.batches(program, 0, 0)
    seen = []
    for _ in range(minibatches):
        batch = next(batches)
        estimate = learn(game, estimator, batch)
        assert abs(float(estimate.extras["kl"])) < 1e-6
        assert float(estimate.extras["clip_fraction"]) == 0
        seen.append(batch.rewards.numel())
    # Each step is in one minibatch of an epoch.
    assert sum(seen) == games * 16


@pytest.mark.parametrize(
    ("memory", "minibatches", "message"),
    [
        ("none", 33, "estimator.minibatches = 33: expected at most task.games .* = 32"),
        ("gru", 5, "task.rollout_steps = 16: expected a multiple of 3"),
    ],
)
def test_what_cannot_be_divided_is_refused_in_one_line(memory, minibatches, message):
    game, _ = rollout_of(2, 16, memory=memory)
    with pytest.raises(UserError, match=message) as error:
        game.program(PPO(minibatches=minibatches))
    assert "\n" not in str(error.value)
