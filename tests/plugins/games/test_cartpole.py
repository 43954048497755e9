"""CartPole as a newcomer trains it, and environments that cannot be played."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from framework.commands import train
from framework.errors import UserError
from plugins.games.environments.making import make_games
from plugins.games.task import Game
from tests.runs import Diffobj, result

QUIET = ("monitor.tensorboard=false", "monitor.progress=none")


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.slow) for seed in range(3)])
def test_it_is_solved(tmp_path, seed):
    folder = tmp_path / "run"
    train.run(["experiment=cartpole", f"seed={seed}", *QUIET, f"hydra.run.dir={folder}"])
    assert result(folder)["metrics"]["return_mean"] >= 475
    assert {p.name for p in Path(folder, "media").iterdir()} >= {"agent.gif", "returns.png"}


@pytest.mark.slow
def test_a_training_needs_little_more_memory_than_torch_itself(tmp_path):
    """Of the most that is in memory at once, by a process of its own: its film of 250 frames has 180 MB of pixels."""
    code = """
import resource, sys
import torch
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
from framework.commands import train
train.run(sys.argv[1:])
print("MiB", peak() - before)
"""
    command = [
        sys.executable,
        "-c",
        code,
        "experiment=cartpole",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    done = subprocess.run([*command, "monitor.progress=none"], capture_output=True, check=True)
    assert float(done.stdout.split()[-1]) < 200


@pytest.mark.slow
def test_evolution_strategies_play_it(tmp_path):
    options = ["estimator=evolution_strategies", "estimator.samples=4", "estimator.directions=2"]
    options += ["trainer.steps=3", "task.evaluation_episodes=5", "task.video_frames=4"]
    folder = tmp_path / "run"
    assert train.run(["experiment=cartpole", *options, *QUIET, f"hydra.run.dir={folder}"]) == 0
    assert result(folder)["metrics"]["return_mean"] >= 5


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            "CartPol-v1",
            "task.environment = 'CartPol-v1': unknown; nearest: CartPole-v1, CartPole-v0, ",
        ),
        (
            "CartPole",
            "task.environment = 'CartPole': unknown; nearest: cart_pole, CartPole-v1, CartPole-v0, ",
        ),
        (
            "os:CartPole-v1",
            "task.environment = 'os:CartPole-v1' imports code; task.trust=true permits it\n",
        ),
        ("antigravity:Env-v0", "task.environment = 'antigravity:Env-v0' imports code; "),
        ("Ant-v2", "task.environment = 'Ant-v2': The mujoco v2 and v3 based environments"),
    ],
)
def test_an_environment_that_cannot_be_played_is_refused_in_one_line(
    tmp_path, monkeypatch, diffobj: Diffobj, environment, said
):
    monkeypatch.chdir(tmp_path)
    outcome = diffobj("train", "experiment=cartpole", f"task.environment='{environment}'")
    assert outcome.status == 2
    assert outcome.err.startswith(f"diffobj: {said}")
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_name_never_imports_a_module():
    with pytest.raises(UserError):
        make_games("antigravity:Env-v0", 1)
    assert "antigravity" not in sys.modules


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_registered_environment_plays_or_is_refused_in_one_line():
    played, messages = [], []
    for environment, found in sorted(gymnasium.registry.items()):
        if str(found.entry_point).startswith("ale_py"):
            continue  # a thousand, where an earlier test has imported ale-py
        try:
            Game(environment=environment, games=1, evaluation_episodes=1)
            played.append(environment)
        except UserError as error:
            messages.append(str(error))
    assert {"CartPole-v1", "Acrobot-v1", "MountainCar-v0"} <= set(played)
    assert [message for message in messages if "\n" in message] == []
