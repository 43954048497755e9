"""The trained agent as a function: gymnasium's observations in, actions that `env.step` takes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy
import pytest
import torch
from gymnasium.spaces import MultiBinary

import framework
from framework.errors import UserError
from plugins.games.task import Game
from tests.plugins.games.counter import SPACES, Choosy, Counter, decided, game_of

QUIET = [
    "monitor.tensorboard=false",
    "task.video_frames=1",
    "task.evaluation_episodes=1",
    "task.games=8",
]


def agent_of(environment: Any, **options: Any) -> Game:
    """An agent with random preferences."""
    torch.manual_seed(0)
    game = Game(environment=environment, hidden=[8], evaluation_episodes=1, **options)
    decided(game.model)
    return game


def played(game: Any, env: Any, seed: int) -> float:
    """The return of one episode of a gymnasium environment, played through `act`."""
    observation, _ = env.reset(seed=seed)
    game.reset_memory()
    earned, ended = 0.0, False
    while not ended:
        action = game.act(observation)
        assert env.action_space.contains(action), action
        observation, reward, terminated, truncated, _ = env.step(action)
        earned += float(reward)
        ended = terminated or truncated
    return earned


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(["task.memory=gru"], marks=pytest.mark.slow),
        ["task.memory=lstm", "task.observation_indices=[0,2]", "task.normalise_observations=true"],
    ],
)
def test_a_trained_agent_plays_cart_pole_as_its_evaluation_does(tmp_path: Path, options):
    overrides = [*QUIET, *options]
    run = framework.train(
        "cartpole", estimator="ppo", steps=32, overrides=overrides, folder=tmp_path / "run"
    )
    task: Any = framework.load(run.folder, checkpoint="last").task
    env = gymnasium.make("CartPole-v1")
    returns = [played(task, env, seed) for seed in range(5)]
    assert returns == [task.evaluate(seed)["return_mean"] for seed in range(5)]
    assert len(set(returns)) > 1


@pytest.mark.parametrize("options", [{}, {"memory": "gru"}, {"continuous": "beta"}])
def test_continuous_actions_are_float32_within_their_bounds(options):
    game = agent_of("Pendulum-v1", **options)
    env = gymnasium.make("Pendulum-v1")
    action = game.act(env.reset(seed=0)[0])
    assert (action.shape, action.dtype) == ((1,), numpy.float32)
    for seed in range(2):
        assert played(game, env, seed) == pytest.approx(game.evaluate(seed)["return_mean"])


@pytest.mark.parametrize("space", list(SPACES))
@pytest.mark.parametrize("masked", [False, True])
def test_every_action_space_gets_an_action_that_it_contains(monkeypatch, space, masked):
    actions, continuous = SPACES[space]
    choices = {"discrete": 4, "multi-discrete": 9, "multi-binary": 6}.get(space, 0) if masked else 0
    game = game_of(lambda i: Choosy(actions, choices), 2, continuous=continuous)
    env = Choosy(actions, choices)
    observation, _ = env.reset()
    for deterministic in (True, False, False, False):
        action = game.act(observation, deterministic=deterministic)
        assert actions.contains(action), action
        observation, *_ = env.step(action)


def test_a_mask_is_obeyed_and_parts_are_checked_by_name(monkeypatch):
    game = game_of(lambda i: Choosy(SPACES["discrete"][0], 4), 2)
    only = {"count": numpy.ones(1), "action_mask": numpy.array([0, 0, 1, 0], dtype=numpy.int8)}
    assert {int(game.act(only, deterministic=False)) for _ in range(20)} == {2}
    for observation, message in (
        (
            numpy.ones(1),
            r"the observation is ndarray, expected a dict of \['action_mask', 'count'\]",
        ),
        ({"count": numpy.ones(1)}, r"is \['count'\], expected a dict of"),
        (only | {"count": numpy.ones(2)}, r"'count' has the shape \[2\], expected \[1\]"),
        (
            only | {"count": numpy.ones((3, 1))},
            "different numbers of games: 'count' of 3, 'action_mask' of 1",
        ),
    ):
        with pytest.raises(UserError, match=message):
            game.act(observation)


def test_a_batch_of_observations_gives_a_batch_of_the_same_actions():
    game = agent_of("CartPole-v1")
    observations = numpy.random.default_rng(0).normal(scale=3, size=(40, 4))
    actions = game.act(observations)
    assert (actions.shape, actions.dtype) == ((40,), numpy.int64)
    assert actions.tolist() == [int(game.act(row)) for row in observations]
    assert game.act(torch.as_tensor(observations)).tolist() == actions.tolist()
    assert len(set(actions.tolist())) == 2


def test_discrete_observations_are_whole_numbers():
    game = agent_of("FrozenLake-v1")
    actions = game.act(numpy.arange(16))
    assert actions.tolist() == [game.act(number) for number in range(16)]
    assert game.act(torch.tensor(3)) == actions[3]


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (numpy.ones(3), r"the observation has the shape \[3\], expected \[4\], or"),
        (numpy.ones((2, 2, 4)), r"the observation has the shape \[2, 2, 4\], expected \[4\], or"),
        (numpy.ones((0, 4)), r"has the shape \[0, 4\], expected \[4\], or"),
        (1.0, r"has the shape \[\], expected \[4\], or"),
        ("left", r"the observation is str, expected numbers of shape \[4\]"),
        ({"x": numpy.ones(4)}, r"the observation is dict, expected numbers of shape \[4\]"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused_with_both_shapes(observation, message):
    with pytest.raises(UserError, match=message) as error:
        agent_of("CartPole-v1").act(observation)
    assert "\n" not in str(error.value)


def test_a_memory_is_kept_between_calls_until_an_episode_begins(monkeypatch):
    game = game_of(lambda i: Counter(), 2, memory="gru")
    memories = []
    for number, start in ((1.0, False), (5.0, False), (1.0, True), (5.0, False)):
        game.act(numpy.array([number]), episode_start=start)
        assert game.player.memory is not None
        memories.append(game.player.memory)
    assert torch.equal(memories[0], memories[2])
    assert torch.equal(memories[1], memories[3])
    assert not torch.equal(memories[0], memories[1])
    with pytest.raises(UserError, match=r"2 observations, .* of 1 games; reset_memory\(\) begins"):
        game.act(numpy.ones((2, 1)))
    game.reset_memory()
    game.act(numpy.ones((2, 1)))
    game.act(numpy.full((2, 1), 5.0), episode_start=[True, False])
    both = game.player.memory
    assert both is not None
    torch.testing.assert_close(both[:, 1], memories[1][:, 0])
    assert not torch.allclose(both[:, 0], memories[1][:, 0])
    with pytest.raises(UserError, match=r"episode_start has the shape \[3\]"):
        game.act(numpy.ones((2, 1)), episode_start=[True, False, True])


def test_a_greedy_action_leaves_torchs_generator_alone_and_carries_no_gradient():
    game = agent_of("CartPole-v1", memory="gru")
    before = torch.get_rng_state()
    game.act(numpy.ones(4))
    assert torch.equal(torch.get_rng_state(), before)
    assert game.player.memory is not None
    assert not game.player.memory.requires_grad
    game.act(numpy.ones(4), deterministic=False)
    assert not torch.equal(torch.get_rng_state(), before)


def test_sampled_actions_have_the_policys_probabilities():
    game = agent_of("CartPole-v1")
    observation = torch.ones(4_000, 4)
    with torch.no_grad():
        policy, _ = game.model.act(observation[:1], None, torch.ones(1, dtype=torch.bool))
    probability = float(policy.probs[0, 1])  # type: ignore[attr-defined]
    share = float(game.act(observation, deterministic=False).mean())
    assert abs(share - probability) < 4 * (probability * (1 - probability) / 4_000) ** 0.5


def test_multi_binary_actions_have_their_type(monkeypatch):
    game = game_of(lambda i: Choosy(MultiBinary(3)), 2)
    assert game.act(numpy.ones((5, 1))).dtype == numpy.int8


class Masked(Counter):
    """Its mask of actions is in `info`."""

    action_space: Any = SPACES["discrete"][0]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed)[0], {"action_mask": numpy.eye(4)[self.clock]}

    def step(self, action: Any) -> Any:
        *outcome, _ = super().step(action)
        return (*outcome, {"action_mask": numpy.eye(4)[self.clock % 4]})


def test_a_mask_is_given_beside_the_observation_as_the_environment_gives_it():
    game = agent_of(Masked)
    env = Masked()
    observation, info = env.reset()
    for count in range(4):
        action = game.act(observation, mask=info["action_mask"])
        assert action == count
        observation, _, _, _, info = env.step(action)
    masks = numpy.eye(4)[[2, 0]]
    assert game.act(numpy.zeros((2, 1)), mask=masks, deterministic=False).tolist() == [2, 0]
    with pytest.raises(UserError, match="mask: expected one, as in training"):
        game.act(observation)
    with pytest.raises(UserError, match="mask: the agent was trained without masks"):
        agent_of("CartPole-v1").act(numpy.zeros(4), mask=[1, 0])


def test_nested_observations_are_taken_as_the_environment_returns_them():
    space = gymnasium.spaces.Dict(
        arms=gymnasium.spaces.Tuple([Counter.observation_space, gymnasium.spaces.Discrete(3)]),
        mission=gymnasium.spaces.Text(5),
    )

    class Nested(Counter):
        observation_space: Any = space

        def seen(self) -> Any:
            return {"arms": (super().seen(), 2), "mission": "go"}

    game = agent_of(Nested)
    env = Nested()
    assert env.action_space.contains(game.act(env.reset()[0]))
    with pytest.raises(UserError, match=r"expected a dict of \['arms/0', 'arms/1'\]"):
        game.act({"arms": 3})
