"""What the task hands to estimators: the right rows, rewards and predictions, and every game once in an epoch."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from framework import waiting
from framework.errors import UserError
from framework.gradients.policy_gradient.actor_critic import A2C
from framework.gradients.policy_gradient.advantages import Transitions, gae
from framework.gradients.policy_gradient.ppo import PPO
from framework.gradients.registered import make_estimator
from framework.gradients.selection.comparison import compare
from plugins.games.policies.normalisation import Normaliser, ReturnScale
from plugins.games.rollouts import Rollout
from plugins.games.task import Game
from tests.plugins.games.counter import LENGTH, Counter, game_of, learn

PARTS = ("game", "environment", "acting", "learning")
LEARNERS = ("a2c", "ppo", "vtrace", "upgo", "rloo")


class Generous(Counter):
    """Every step earns 3 times the action."""

    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        return seen, 3.0 * reward * int(action), *rest


def first_batch(game: Game, name: str) -> tuple[Any, Rollout]:
    """An estimator and the first rollout that the task collects for it."""
    estimator = make_estimator(name)
    rollout = next(game.batches(game.program(estimator), 0, 0))
    assert rollout is not None
    return estimator, rollout


def gradients(game: Game) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in game.parameters.items() if p.grad is not None}


@pytest.mark.parametrize("name", LEARNERS)
def test_actions_in_rows_that_are_no_steps_have_no_influence(monkeypatch, name):
    """Rollouts: the resets between episodes. Whole episodes: all after the end of the shorter ones."""
    game = game_of(lambda i: Generous(LENGTH + i), 4, rollout_steps=20)
    estimator, rollout = first_batch(game, name)
    assert not rollout.valid.all()
    estimate = learn(game, estimator, rollout)
    before = gradients(game)
    other = torch.where(rollout.valid, rollout.actions, 1 - rollout.actions)
    claimed = rollout.log_prob
    if claimed is not None:
        claimed = torch.where(rollout.valid, claimed, -5.0)
    again = learn(game, estimator, replace(rollout, actions=other, log_prob=claimed))
    torch.testing.assert_close(gradients(game), before, rtol=0, atol=0)
    torch.testing.assert_close(again.extras, estimate.extras, rtol=0, atol=0)


@pytest.mark.parametrize("name", LEARNERS)
def test_what_is_learned_from_are_clipped_and_scaled_rewards(monkeypatch, name):
    options: dict[str, Any] = {"rollout_steps": 20, "reward_scale": 0.5}
    for clip, worth in ((False, 1.5), (True, 0.5)):
        game = game_of(lambda i: Generous(), 4, clip_rewards=clip, **options)
        estimator, rollout = first_batch(game, name)
        chosen = (rollout.actions * rollout.valid).sum(0).float().mean()
        torch.testing.assert_close(learn(game, estimator, rollout).objective, -worth * chosen)
        assert set(rollout.rewards.unique().tolist()) == {0.0, 3.0}  # what is reported is not


def test_returns_are_learned_from_over_their_running_size(monkeypatch):
    """Two rollouts by hand: discounted returns go on across them and start again with each episode; no reset counts."""
    game = game_of(lambda i: Generous(LENGTH + i), 3, rollout_steps=8, normalise_returns=True)
    estimator = A2C(discount=0.5)
    batches = game.batches(game.program(estimator), 0, 0)
    returns, running = [], [0.0] * 3
    for _ in range(2):
        rollout = next(batches)
        assert rollout is not None
        for t in range(8):
            for n in range(3):
                running[n] = float(rollout.rewards[t, n]) + 0.5 * running[n] * (
                    not rollout.episode_start[t, n]
                )
                returns += [running[n]] if rollout.valid[t, n] else []
        size = (sum(earned**2 for earned in returns) / len(returns)) ** 0.5
        estimate = learn(game, estimator, rollout)
        torch.testing.assert_close(estimate.objective, -rollout.rewards.sum(0).mean() / size)
        assert set(rollout.rewards.unique().tolist()) == {0.0, 3.0}  # what is reported is not
    assert game.log.scalars["train/return"] > LENGTH
    before = copy.deepcopy(game.model.state_dict())
    game.evaluate(0)
    torch.testing.assert_close(game.model.state_dict(), before, rtol=0, atol=0)
    assert before["return_scale.count"] == len(returns)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["evolution_strategies", "reparameterisation"])
def test_episodes_that_are_played_for_an_estimate_are_logged_as_recorded_ones_are(name):
    """4 samples (and for evolution strategies 2 pairs of perturbations) of 8 steps each."""
    game = Game(environment="pendulum", games=4, hidden=[4], normalise_observations=True)
    game.experience.vector(4).time_limit = 8
    estimator = make_estimator(name, 4, {"directions": 2} if name == "evolution_strategies" else {})
    program = game.program(estimator)
    batches = game.batches(program, 0, 0)
    normaliser = game.model.normaliser
    assert isinstance(normaliser, Normaliser)
    for number in range(2):
        batch = next(batches)
        assert (normaliser.deviation != 1).all() == (number > 0)  # what was seen before counts now
        estimate = estimator.backward(program, game.parameters, batch)
        episodes = (number + 1) * estimate.evaluations
        assert normaliser.count == game.scalars()["train/game_steps"] == 8 * episodes
    assert game.log.scalars["train/episode_length"] == 8
    assert len(game.log.recent) == episodes
    assert game.log.scalars["train/return"] == pytest.approx(
        sum(earned for earned, _ in game.log.recent) / episodes
    )


def test_nothing_seen_leaves_the_statistics_as_they_are():
    normaliser = Normaliser((2,))
    normaliser.update(torch.zeros(0, 2), torch.zeros(0, dtype=torch.bool))
    normaliser.update(torch.tensor([[1.0, 2.0], [3.0, 6.0]]), torch.ones(2, dtype=torch.bool))
    normaliser.commit()
    torch.testing.assert_close(normaliser.mean, torch.tensor([2.0, 4.0]))


def test_the_speed_of_playing_is_split_into_acting_environment_and_learning(monkeypatch):
    """A game that takes 20 ms of 2 steps, learning that takes 50 ms, and an evaluation that is neither."""

    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    class Slow(Counter):
        def step(self, action: Any) -> Any:
            now[0] += 0.01
            return super().step(action)

    game = game_of(lambda i: Slow(), 1, rollout_steps=2, evaluation_episodes=5)
    batches = game.batches(game.program(A2C()), 0, 0)
    next(batches)
    assert "time/learning_steps_per_second" not in game.scalars()
    game.evaluate(0)
    now[0] += 0.05
    next(batches)
    seconds = {name: 2 / game.scalars()[f"time/{name}_steps_per_second"] for name in PARTS}
    assert seconds["environment"] == pytest.approx(0.02)
    # An evaluation takes 0.5.
    assert seconds["learning"] == pytest.approx(0.05)
    assert seconds["game"] == pytest.approx(seconds["environment"] + seconds["acting"])


def test_the_size_of_returns_is_one_until_something_is_earned_and_rare_rewards_are_cut():
    scale = ReturnScale()
    assert scale(torch.tensor([2.0])).tolist() == [2.0]
    scale.update(torch.zeros(10), torch.ones(10, dtype=torch.bool))
    assert scale(torch.tensor([0.0, 2.0])).tolist() == [0.0, 2.0]
    scale.update(torch.tensor([3.0, 3.0]), torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(scale(torch.tensor([3.0])), torch.tensor([6.0**0.5]))
    assert scale(torch.tensor([100.0, -100.0])).tolist() == [10.0, -10.0]


def test_statistics_on_a_device_with_a_queue_are_those_of_the_same_steps(monkeypatch):
    """There, steps that are none weigh 0, where the CPU leaves them out; also if all are none."""
    torch.manual_seed(0)
    values, valid = torch.randn(5, 3, 2), torch.rand(5, 3) < 0.5
    found = []
    for queues in (False, True):
        monkeypatch.setattr(waiting, "queues", lambda device, queues=queues: queues)
        normaliser, scale = Normaliser((2,)), ReturnScale()
        for steps in (torch.zeros_like(valid), valid, ~valid):
            normaliser.update(values, steps)
            scale.update(values[..., 0], steps)
        normaliser.commit()
        found.append([*normaliser.buffers(), *scale.buffers()])
    assert found[0][2] == 15
    torch.testing.assert_close(*found)


def test_the_size_of_returns_is_refused_where_none_are_predicted():
    game = Game(environment="cart_pole", hidden=[4], normalise_returns=True)
    with pytest.raises(UserError, match=r"task.normalise_returns = true: .*ppo"):
        game.program(make_estimator("rloo"))


def test_a_policys_gradient_grows_with_the_scale_of_rewards(monkeypatch):
    found = []
    for scale in (1.0, 4.0):
        game = game_of(lambda i: Generous(), 8, reward_scale=scale)
        learn(game, *first_batch(game, "rloo"))
        found.append(gradients(game)["head.linear.weight"])
    assert found[0].abs().max() > 0.01
    torch.testing.assert_close(found[1], 4 * found[0])


def test_the_parts_of_each_epoch_hold_every_game_once(monkeypatch):
    game = game_of(lambda i: Counter(3 + i), 7, rollout_steps=12)
    estimator = PPO(epochs=3, minibatches=3)
    batches = game.batches(game.program(estimator), 0, 0)
    orders = []
    for _ in range(3):
        parts = [next(batches) for _ in range(3)]
        # the games' episodes differ in length: the first reset of a column says which game it is
        resets = [part.episode_start[1:].int().argmax(0) - 3 for part in parts if part is not None]
        assert sorted(len(games) for games in resets) == [2, 2, 3]
        orders.append(torch.cat(resets).tolist())
    assert [sorted(order) for order in orders] == [list(range(7))] * 3
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("environment", "normalise"), [("pendulum", True), ("key_door", False), ("snake", False)]
)
def test_ppos_ratio_is_one_on_the_first_part_of_every_rollout(environment, normalise, shared):
    """On boards, too, and where the statistics of observations have moved on between the rollouts."""
    game = Game(
        environment=environment,
        games=6,
        rollout_steps=10,
        hidden=[8],
        shared=shared,
        normalise_observations=normalise,
    )
    estimator = PPO(epochs=1, minibatches=2, clip=1e-6)
    program = game.program(estimator)
    optimizer = torch.optim.Adam(game.parameters.values(), lr=0.01)
    batches = game.batches(program, 0, 0)
    for number in range(6):
        estimate = learn(game, estimator, next(batches))
        optimizer.step()
        first = number % 2 == 0
        assert (float(estimate.extras["clip_fraction"]) == 0) == first
        assert (float(estimate.extras["kl"]) < 1e-9) == first


def test_a_part_too_small_to_be_divided_has_no_variance_and_does_not_claim_to_have_none():
    game = Game(environment="cart_pole", games=4, rollout_steps=8, hidden=[4])
    for minibatches, measured in ((4, False), (1, True)):
        estimator = PPO(minibatches=minibatches)
        program = game.program(estimator)
        batch = next(game.batches(program, 0, 0))
        quality = compare({"ppo": estimator}, program, game.parameters, batch, repeats=4, seed=0)
        figures = quality["ppo"].scalars("quality/ppo")
        assert ("quality/ppo/variance" in figures) == measured
        assert "quality/ppo/seconds" in figures


def test_a_prediction_is_kept_near_that_of_the_time_of_playing(monkeypatch):
    """PPO's clipped value loss, computed by hand after a step that raised every prediction by 1."""
    game = game_of(lambda i: Counter(), 4, rollout_steps=12)
    _, rollout = first_batch(game, "ppo")
    assert game.model.value_head is not None
    with torch.no_grad():
        game.model.value_head.bias.add_(1.0)
        values = game.model.policy_and_values(rollout.observations, None, rollout.episode_start)[1]
    now, old = values[:-1], values[:-1] - 1
    steps = Transitions(
        rollout.rewards, now, values[1:], rollout.terminated, rollout.truncated, rollout.valid
    )
    target = now + gae(steps, 0.99, 0.95)
    free, held = (now - target).square(), (old + 0.1 - target).square()
    expected = 0.5 * torch.maximum(free, held)[rollout.valid].mean()
    assert not torch.isclose(expected, 0.5 * free[rollout.valid].mean(), rtol=0.1)
    estimate = learn(game, PPO(clip_value=0.1), rollout)
    torch.testing.assert_close(torch.as_tensor(estimate.extras["value_loss"]), expected)


def test_greedy_episodes_take_the_likeliest_action_and_stochastic_ones_sample(monkeypatch):
    game = game_of(lambda i: Generous(), 4, evaluation_episodes=200)
    with torch.no_grad():
        game.parameters["head.linear.weight"].zero_()
        game.parameters["head.linear.bias"].copy_(torch.tensor([0.0, 1.0]))
    metrics = game.evaluate(0)
    assert (metrics["return_mean"], metrics["return_std"]) == (3.0 * LENGTH, 0.0)
    chance = torch.tensor(1.0).sigmoid().item()
    error = 3 * (LENGTH * chance * (1 - chance) / 200) ** 0.5
    assert abs(metrics["return_stochastic"] - 3 * LENGTH * chance) < 4 * error


def test_batches_of_one_number_are_the_same_and_share_no_memory():
    game = Game(environment="cart_pole", games=4, rollout_steps=6, hidden=[4])
    program = game.program(PPO(minibatches=1))
    first, second, later = (next(game.batches(program, 0, number)) for number in (0, 0, 1))
    assert first is not None
    assert second is not None
    assert later is not None
    torch.testing.assert_close(first.rewards, second.rewards, rtol=0, atol=0)
    torch.testing.assert_close(first.observations, second.observations, rtol=0, atol=0)
    assert first.rewards.data_ptr() != second.rewards.data_ptr() != later.rewards.data_ptr()
