"""Rollouts of gymnasium's games: a run that is stopped and resumed ends with the bits of one that never was."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from framework.commands import train
from framework.errors import UserError
from framework.training.checkpoints.checkpoint import load_newest
from plugins.games.environments.foreign.repeating import MAX_STEPS, NotRepeatable, Repeatable
from plugins.games.environments.making import make_games
from plugins.games.experience import refuse_unlike
from tests.plugins.games.counter import vectors

SMALL = [
    "task=game",
    "task.games=3",
    "task.hidden=[8]",
    "task.video_frames=1",
    "task.evaluation_episodes=2",
    "monitor.tensorboard=false",
    "monitor.progress=none",
    "trainer.steps=10",
]
# Episodes end within rollouts of any length.
SHORT = {"CartPole-v1": 48, "Acrobot-v1": 300, "Pendulum-v1": 120, "MountainCar-v0": 120}


class Walk(gymnasium.Env[Any, Any]):
    """A random walk of at most 7 steps whose draws come from the environment's own generator, or from elsewhere."""

    observation_space: Any = Box(-100, 100, (2,), numpy.float64)
    action_space: Any = Discrete(2)
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    elsewhere = False

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def render(self) -> Any:
        return numpy.zeros((8, 8, 3), dtype=numpy.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.clock, self.place = 0, self.draw()
        return self.seen(), {}

    def step(self, action: Any) -> Any:
        self.clock += 1
        self.place += self.draw() + float(action)
        return self.seen(), self.place, self.draw() > 1.2, self.clock == 7, {}

    def draw(self) -> float:
        return float(numpy.random.normal() if self.elsewhere else self.np_random.normal())

    def seen(self) -> Any:
        return numpy.array([self.place, self.clock])


class Elsewhere(Walk):
    elsewhere = True


@pytest.fixture(autouse=True)
def walks():
    """Both walks by gymnasium's own registry."""
    for kind in (Walk, Elsewhere):
        gymnasium.register(f"{kind.__name__}-v0", entry_point=cast(Any, kind))
    yield
    for kind in (Walk, Elsewhere):
        gymnasium.registry.pop(f"{kind.__name__}-v0")


def run(*arguments: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        train.run(list(arguments))


def both(folder: Path, stop: int, *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last checkpoints of an uninterrupted run and of one that was stopped after step `stop`."""
    whole, parted = folder / "whole", folder / "parted"
    run(*SMALL, *options, f"hydra.run.dir={whole}")
    run(*SMALL, *options, f"hydra.run.dir={parted}", f"trainer.stop_at={stop}")
    run(f"resume={parted}", "trainer.stop_at=null")
    first, second = (load_newest(place / "checkpoints", print) for place in (whole, parted))
    return first, second


def assert_same(whole: dict[str, Any], parted: dict[str, Any]) -> None:
    assert parted["step"] == whole["step"] == 10
    for name, value in whole["model"].items():
        assert torch.equal(value, parted["model"][name]), name
    assert whole["task"]["position"].keys() == parted["task"]["position"].keys()
    torch.testing.assert_close(
        whole["task"]["position"]["returns"], parted["task"]["position"]["returns"], rtol=0, atol=0
    )


PPO = ("estimator=ppo", "estimator.epochs=2", "estimator.minibatches=2")
A2C = ("estimator=a2c",)
MEMORY = ("task.memory=gru", "task.normalise_returns=true")
NORMALISED = ("task.normalise_observations=true",)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("environment", "stop", "options"),
    [
        pytest.param("CartPole-v1", 4, PPO, marks=pytest.mark.slow),
        ("CartPole-v1", 5, (*PPO, *MEMORY, *NORMALISED)),
        pytest.param("CartPole-v1", 5, (*A2C, *NORMALISED), marks=pytest.mark.slow),
        pytest.param("Pendulum-v1", 5, (*PPO, *NORMALISED), marks=pytest.mark.slow),
        pytest.param("Pendulum-v1", 6, (*A2C, "task.memory=lstm"), marks=pytest.mark.slow),
        pytest.param("Acrobot-v1", 5, PPO, marks=pytest.mark.slow),
        pytest.param("MountainCar-v0", 4, A2C, marks=pytest.mark.slow),
        ("FrozenLake-v1", 6, PPO),
        pytest.param("Walk-v0", 3, PPO, marks=pytest.mark.slow),
        ("Walk-v0", 8, (*A2C, *MEMORY, *NORMALISED)),
    ],
)
def test_a_resumed_run_of_rollouts_ends_with_the_same_bits(
    tmp_path, capsys, environment, stop, options
):
    steps = f"task.rollout_steps={SHORT.get(environment, 24)}"
    assert_same(*both(tmp_path, stop, f"task.environment={environment}", steps, *options))
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_games_with_processes_of_their_own_are_brought_back_too(tmp_path, capsys):
    options = ("task.environment=CartPole-v1", "task.processes=true", "task.rollout_steps=24")
    assert_same(*both(tmp_path, 5, *options, *A2C))
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_games_that_draw_from_elsewhere_are_named_in_one_line_and_begin_new_episodes(
    tmp_path, capsys
):
    _, parted = both(tmp_path, 5, "task.environment=Elsewhere-v0", "task.rollout_steps=4", *A2C)
    assert parted["step"] == 10
    assert capsys.readouterr().err == (
        "environment 'Elsewhere-v0': game 0: the same seed and actions lead elsewhere; new episodes begin, so that the "
        "run does not end with the bits of an uninterrupted one\n"
    )


@pytest.mark.parametrize("environment", ["CartPole-v1", "Walk-v0"])
@pytest.mark.parametrize("steps", [0, 1, 2, 5, 7, 8, 9, 30])
def test_games_go_on_as_they_would_have_wherever_they_stand(environment, steps):
    """Also where an episode has just ended, or has just begun by a reset without a seed."""
    games, others = make_games(environment, 3), make_games(environment, 3)
    random = torch.Generator().manual_seed(1)
    actions = torch.randint(2, (60, 3), generator=random)
    games.reset(5)
    for row in actions[:steps]:
        games.step(row)
    saved = games.state_dict()
    assert saved is not None
    # Played before, and to another place.
    others.reset(9)
    for row in actions[:13]:
        others.step(row)
    others.load_state_dict(saved)
    for row in actions[steps:]:
        one, other = games.step(row), others.step(row)
        for name in ("observations", "rewards", "terminated", "truncated", "valid"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert torch.equal(one.episode_start, other.episode_start)


def test_other_games_are_refused():
    three, two = make_games("Walk-v0", 3), make_games("Walk-v0", 2)
    three.reset(0)
    saved = three.state_dict()
    assert saved is not None
    with pytest.raises(NotRepeatable, match="the checkpoint is of other games"):
        two.load_state_dict(saved)


def test_an_episode_without_an_end_is_given_up_and_a_new_one_is_remembered():
    game = Repeatable(Walk())
    game.reset(seed=0)
    game.actions = [0] * (MAX_STEPS + 1)
    assert game.record() is None
    game.step(1)
    assert len(game.actions) == MAX_STEPS + 1
    game.reset()
    assert game.record() is not None


def test_a_vector_class_that_nobody_knows_is_not_saved():
    games = make_games(vectors(lambda i: Walk()), 2)
    games.reset(0)
    assert games.state_dict() is None


@pytest.mark.one_in(2)
@pytest.mark.parametrize("stop", [3, 5])
def test_a_single_game_whose_rollouts_are_cut_into_pieces_is_resumed_with_the_same_bits(
    tmp_path, stop
):
    ppo = ("estimator=ppo", "estimator.epochs=2", "estimator.minibatches=4", "task.games=1")
    assert_same(
        *both(tmp_path, stop, "task.environment=CartPole-v1", "task.rollout_steps=16", *ppo)
    )


@pytest.mark.parametrize(("part", "field"), [("position", "returns"), ("rollout", "rewards")])
def test_saved_tensors_that_count_other_games_are_refused_in_one_line(part, field):
    games = torch.zeros(3, dtype=torch.bool)
    saved = {"returns": torch.zeros(3), "episode_start": games, "memory": None}
    if part == "rollout":
        saved = {"rewards": torch.zeros(5, 3), "episode_start": games.expand(6, 3)}
    refuse_unlike(part, saved)
    for wrong in (torch.zeros(()), torch.zeros(7), torch.zeros(5, 2)):
        with pytest.raises(UserError, match=f"the games' {part} '{field}' has shape") as refused:
            refuse_unlike(part, {**saved, field: wrong})
        assert "\n" not in str(refused.value)
