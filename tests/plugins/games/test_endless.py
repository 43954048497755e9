"""Episodes without an end: cut off, counted as truncated, said once; and a signal ends whatever is played."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import torch

import framework
from framework.gradients.registered import make_estimator
from framework.randomness import seeded
from plugins.games.environments.making import make_games
from plugins.games.environments.options import EnvironmentOptions
from plugins.games.rollouts import RolloutBuffer, begin_episodes, collect_rollout, play
from plugins.games.task import Game
from tests.plugins.games.counter import Counter, vectors

SAID = "environment '{}' has no time limit: an episode was cut off after 7 steps (task.longest_episode)\n"
ENDLESS = 10**9
SMALL: dict[str, Any] = {"games": 3, "hidden": [4], "evaluation_episodes": 2}


def endless(count: int = ENDLESS) -> Counter:
    return Counter(count)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ("CliffWalking-v1", "CliffWalking-v1"),
        (endless, "endless"),
        (vectors(lambda i: endless()), "counters"),
    ],
)
def test_an_evaluation_of_an_environment_without_a_time_limit_ends(capsys, environment, name):
    game = Game(environment=environment, longest_episode=7, **SMALL)
    metrics = game.evaluate(0)
    assert metrics["length_mean"] == 7
    assert capsys.readouterr().err == SAID.format(name)


def test_a_declared_time_limit_is_longer_than_the_longest_episode_and_counts(capsys):
    game = Game(environment="Pendulum-v1", longest_episode=7, **SMALL)
    assert game.evaluate(0)["length_mean"] == 200
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["rloo", "spsa"])
def test_whole_episodes_are_learned_from_that_are_truncated(name):
    game = Game(environment=endless, longest_episode=7, **SMALL)
    estimator = make_estimator(name, 3)
    program = game.program(estimator)
    batch = next(game.batches(program, 0, 0))
    if batch is not None:
        assert batch.lengths.tolist() == [7, 7, 7]
        assert batch.truncated.sum(0).tolist() == [1, 1, 1]
        assert not batch.terminated.any()
    assert float(estimator.backward(program, game.parameters, batch).objective) == -7


def test_rollouts_cut_it_off_too_and_begin_anew():
    games = make_games(EnvironmentOptions(environment=endless, longest_episode=4), 2)
    agent = Game(environment=endless, **SMALL).model
    with seeded(0):
        state = begin_episodes(games, agent, 0, torch.device("cpu"))
        rollout, finished = collect_rollout(games, agent, state, RolloutBuffer(9))
    assert rollout.truncated[:, 0].tolist() == [False] * 3 + [True] + [False] * 4 + [True]
    assert [length for _, length in finished.read().latest] == [4, 4, 4, 4]


class Fails(Counter):
    """Raises once, in its third step."""

    failed = False

    def step(self, action: Any) -> Any:
        if self.clock == 2 and not Fails.failed:
            Fails.failed = True
            raise RuntimeError("once")
        return super().step(action)


def test_ppo_learns_cliff_walking_which_has_no_time_limit_from_episodes_that_are_cut_off(tmp_path):
    """Each step costs 1, a fall 100 and goes on: the random walks of a first policy never end by themselves."""
    task = Game(environment="CliffWalking-v1", longest_episode=30, rollout_steps=40, **SMALL)
    run = framework.train(
        task,
        estimator="ppo",
        steps=16,
        overrides=["monitor.tensorboard=false", "trainer.evaluate_every=8"],
        folder=tmp_path / "run",
    )
    assert run.result["steps"] == 16
    # One rollout of 40 x 3 steps for each 16 updates, within which every game was cut off after 30.
    assert [length for _, length in task.log.recent] == [30.0] * 3
    assert run.result["metrics"]["length_mean"] <= 30


def test_cliff_walking_by_ppo_ends_at_ctrl_c_with_what_was_learned(tmp_path, monkeypatch):
    import gymnasium
    from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv

    steps = 0
    step = CliffWalkingEnv.step

    def counted(self: Any, action: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3 * 40 * 2 + 50:
            signal.raise_signal(signal.SIGINT)
        return step(self, action)

    monkeypatch.setattr(CliffWalkingEnv, "step", counted)
    assert gymnasium.spec("CliffWalking-v1").max_episode_steps is None
    run = framework.train(
        Game(environment="CliffWalking-v1", longest_episode=10**6, rollout_steps=40, **SMALL),
        estimator="ppo",
        steps=10**6,
        overrides=["monitor.tensorboard=false", "trainer.evaluate_every=0"],
        folder=tmp_path / "run",
    )
    assert run.stopped_by == signal.SIGINT
    # The rollout under way is played to its end, then the two that were learned from are saved.
    assert run.result["saved"] in (32, 33)
    assert steps <= 3 * 40 * 3


def test_an_episode_that_failed_has_the_whole_limit_again(monkeypatch, capsys):
    monkeypatch.setattr(Fails, "failed", False)
    game = Game(environment=vectors(lambda i: Fails(ENDLESS)), longest_episode=5, **SMALL)
    games = game.experience.vector(1)
    agent = game.model
    with seeded(0), torch.no_grad():
        steps = list(play(games, agent, agent.sample_actions, 0, torch.device("cpu")))
    assert sum(bool(step.valid) for step in steps) == 2 + 5
    assert bool(steps[-1].truncated)


class Stops(Counter):
    """Sends this process a signal in a step of a game, as Ctrl-C would."""

    steps = 0
    at = 0

    def step(self, action: Any) -> Any:
        Stops.steps += 1
        if Stops.steps == Stops.at:
            signal.raise_signal(signal.SIGINT)
        return super().step(action)


@pytest.mark.parametrize(("evaluate_every", "at", "done"), [(0, 3 * 2 * 40 + 25, 2), (2, 265, 2)])
def test_a_signal_ends_what_is_played_and_what_was_learned_is_saved(
    monkeypatch, tmp_path, evaluate_every, at, done
):
    """Three games of 40 steps: in the third step's episodes, or in the evaluation after two steps."""
    monkeypatch.setattr(Stops, "steps", 0)
    monkeypatch.setattr(Stops, "at", at)
    run = framework.train(
        Game(environment=lambda: Stops(40), **SMALL),
        estimator="rloo",
        steps=50,
        overrides=["monitor.tensorboard=false", f"trainer.evaluate_every={evaluate_every}"],
        folder=tmp_path / "run",
    )
    assert run.stopped_by == signal.SIGINT
    assert run.result["steps"] == run.result["saved"] == done
    # Nothing was played on: the others of the three games at most.
    assert Stops.steps == at
