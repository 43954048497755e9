"""The task: programs that estimators get, exact resume, errors in one line, and gradients that agree."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import framework
from framework.commands import evaluate, predict, train
from framework.errors import UserError
from framework.gradients.registered import make_estimator
from framework.randomness import seeded
from framework.training.checkpoints.checkpoint import load_newest
from plugins.games.environments.native.pendulum import Pendulum
from plugins.games.task import Game

QUIET = [
    "monitor.tensorboard=false",
    "monitor.progress=none",
    "task.video_frames=1",
    "task.evaluation_episodes=2",
]


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        train.run([*arguments, *QUIET, f"hydra.run.dir={folder}"])
    return load_newest(folder / "checkpoints", print)


def resume(folder: Path, *arguments: str) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        train.run([f"resume={folder}", *arguments])
    return load_newest(folder / "checkpoints", print)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "stop", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(6, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("environment", ["cart_pole", "snake"])
def test_a_run_that_is_stopped_inside_or_between_rollouts_ends_with_the_same_bits(
    tmp_path, environment, stop
):
    common = [
        "task=game",
        "estimator=ppo",
        f"task.environment={environment}",
        "task.games=8",
        "task.rollout_steps=6",
        "task.hidden=[8]",
        "task.memory=gru",
        "task.normalise_returns=true",
        "estimator.epochs=2",
        "estimator.minibatches=2",
        "trainer.steps=8",
    ]
    whole = run(tmp_path / "whole", *common)
    run(tmp_path / "parted", *common, f"trainer.stop_at={stop}")
    parted = resume(tmp_path / "parted", "trainer.stop_at=null")
    assert parted["step"] == whole["step"] == 8
    for name, value in whole["model"].items():
        assert torch.equal(value, parted["model"][name]), name


def test_evaluation_in_the_middle_of_a_rollout_changes_nothing(tmp_path):
    """Even where it plays as many games as training does."""
    common = [
        "task=cartpole_torch",
        "estimator=ppo",
        "task.games=2",
        "task.rollout_steps=6",
        "trainer.steps=6",
        "estimator.epochs=1",
        "estimator.minibatches=2",
    ]
    plain = run(tmp_path / "plain", *common)
    watched = run(tmp_path / "watched", *common, "trainer.evaluate_every=1")
    for name, value in plain["model"].items():
        assert torch.equal(value, watched["model"][name]), name


@pytest.mark.one_in(3)
@pytest.mark.parametrize("estimator", ["ppo", "a2c", "vtrace", "upgo", "rloo", "reinforce"])
def test_one_experiment_serves_every_estimator_by_one_word(tmp_path, estimator):
    state = run(
        tmp_path / "run",
        "experiment=cartpole",
        f"estimator={estimator}",
        "task.environment=cart_pole",
        "task.games=8",
        "trainer.steps=2",
    )
    assert state["step"] == 2
    assert json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]["return_mean"] > 5


def test_statistics_of_observations_are_saved_and_frozen_in_evaluation(tmp_path, capsys):
    folder = tmp_path / "run"
    state = run(
        folder,
        "task=pendulum",
        "estimator=ppo",
        "task.games=4",
        "trainer.steps=32",
        "task.normalise_observations=true",
    )
    assert float(state["model"]["normaliser.count"]) == 2 * 64 * 4
    assert (state["model"]["normaliser.deviation"] != 1).all()
    printed = []
    for _ in range(2):
        evaluate.run([f"run={folder}", "checkpoint=last"])
        printed.append(json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"])
    assert printed[0] == printed[1]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "options", [[], ["task.shared=true"], ["task.memory=lstm"], ["task.environment=pendulum"]]
)
def test_ppos_ratio_is_one_on_the_first_part_in_mixed_precision(tmp_path, options):
    """Games are played in the precision in which they are learned from; probabilities are of single precision."""
    folder = tmp_path / "run"
    common = ["task=cartpole_torch", "estimator=ppo", "task.games=8", "trainer.log_every=1"]
    run(folder, *common, "trainer.steps=2", "trainer.precision=bfloat16", *options)
    first, second = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()[:2])
    assert first["train/kl"] == first["train/clip_fraction"] == 0
    assert second["train/kl"] > 0


def slopes(game: Game, estimator: str, repeats: int, **options: Any) -> torch.Tensor:
    """Estimates `[repeats]` of the objective's slope along a fixed direction of the policy's parameters."""
    chosen = make_estimator(estimator, None, options)
    program = game.program(chosen)
    random = torch.Generator().manual_seed(7)
    names = [n for n in game.parameters if n.startswith(("body", "head"))]
    direction = {n: torch.randn(game.parameters[n].shape, generator=random) for n in names}
    found = []
    with seeded(11):
        batches = game.batches(program, 5, 0)
        for _ in range(repeats):
            game.model.zero_grad()
            chosen.backward(program, game.parameters, next(batches))
            grads = {n: game.parameters[n].grad for n in names}
            found.append(
                sum(float((direction[n] * g).sum()) for n, g in grads.items() if g is not None)
            )
    return torch.tensor(found)


def test_a_smooth_game_is_played_out_without_a_word_about_jumps():
    """What the log reads of it, and a game that never ends early, are no branch on an action."""
    game = Game(environment="cart_pole_smooth", games=4, hidden=[4])
    game.experience.vector(4).time_limit = 8
    estimator = make_estimator("reparameterisation", 4)
    program = game.program(estimator)
    estimator.backward(program, game.parameters, next(game.batches(program, 0, 0)))
    assert program.findings.checked
    assert program.findings.read() == []


class ShortPendulum(Pendulum):
    time_limit = 10


class RewardedInside(ShortPendulum):
    """A bonus within an angle of the top: the return jumps at its end."""

    def move(self, state, actions):
        moved, rewards, over = super().move(state, actions)
        return moved, rewards + (moved["angle"].cos() > 0), over


class Forgetful(ShortPendulum):
    """Its speed goes on without a gradient."""

    def move(self, state, actions):
        moved, rewards, over = super().move(state, actions)
        return {**moved, "spin": moved["spin"].detach()}, rewards, over


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (ShortPendulum, None),
        (RewardedInside, r"a cost jumps in draw 'action/1' .* by `gt` at .*test_game.py"),
        (
            Forgetful,
            r"by more than its gradient, a part of which is cut by `detach` at .*test_game",
        ),
    ],
)
def test_a_jump_of_a_differentiable_game_is_seen_and_a_wrapped_angle_is_none(environment, said):
    torch.manual_seed(0)
    game = Game(environment=environment, games=32, hidden=[4])
    estimator = make_estimator("reparameterisation", 32)
    program = game.program(estimator)
    assert estimator.backward(program, game.parameters, None).biased == (said is not None)
    messages = program.findings.read()
    assert len(messages) == (said is not None)
    assert said is None or re.search(said, messages[0])


@pytest.mark.slow
def test_reparameterisation_and_the_score_function_agree_in_expectation_on_the_smooth_cart_pole():
    """Episodes of 8 steps: through the simulator's derivative and without it, the same slope."""
    torch.manual_seed(0)
    game = Game(environment="cart_pole_smooth", games=256, hidden=[8], log_std_init=-0.5)
    with torch.no_grad():
        for parameter in game.model.head.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    game.experience.vector(256).time_limit = 8
    pathwise = slopes(game, "reparameterisation", 40, samples=256)
    scored = slopes(game, "rloo", 200)
    difference = abs(float(pathwise.mean() - scored.mean()))
    error = float((pathwise.var() / len(pathwise) + scored.var() / len(scored)).sqrt())
    assert difference < 4 * error, (pathwise.mean(), scored.mean(), error)
    assert abs(float(pathwise.mean())) > 10 * float(pathwise.std() / len(pathwise) ** 0.5)
    assert float(pathwise.var()) < 0.1 * float(scored.var())  # what the derivative is worth


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"environment": "CartPol-v1"}, "nearest: CartPole-v1, "),
        ({"environment": "cart_pol"}, "nearest: cart_pole, "),
        ({"environment": "os:CartPole-v1"}, "imports code; task.trust=true permits it"),
        ({"environment": "pendulum", "observation_indices": [3]}, "numbers are 0 to 2"),
        (
            {"environment": "FrozenLake-v1", "observation_indices": [0]},
            r"task.observation_indices = \[0\]: only numbers of a single Box",
        ),
        (
            {"environment": "snake", "observation_indices": [0]},
            r"task.observation_indices = \[0\]: only numbers of a single Box",
        ),
        (
            {
                "environment": "snake",
                "observation_indices": [0],
                "encoder": "multilayer",
                "hidden": [4],
            },
            "",
        ),
        (
            {"environment": "cart_pole", "encoder": "impala"},
            "task.encoder = 'impala': it needs images",
        ),
        ({"environment": "FrozenLake-v1", "encoder": "board"}, "task.encoder = 'board': it needs"),
        (
            {"environment": "CartPole-v1", "terminal_on_life_loss": True},
            "task.terminal_on_life_loss = true: .*no lives",
        ),
        (
            {"environment": "cart_pole", "repeat_action_probability": 0.25},
            "task.repeat_action_probability = 0.25: .*no sticky actions",
        ),
        (
            {"environment": "MountainCarContinuous-v0", "observation_indices": [0], "hidden": [4]},
            "",
        ),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(options, message):
    if not message:
        Game(**options)
        return
    with pytest.raises(UserError, match=message) as error:
        Game(**options)
    assert "\n" not in str(error.value)


def test_a_gradient_through_gymnasium_is_refused_with_estimators_that_serve():
    game = Game(environment="Pendulum-v1", games=2)
    estimator = make_estimator("reparameterisation", 2)
    with pytest.raises(UserError, match=r"no differentiable simulator.*ppo"):
        estimator.backward(game.program(estimator), game.parameters, None)


def test_predict_films_the_agent_and_writes_the_returns_of_both_policies(tmp_path, capsys):
    folder = tmp_path / "run"
    run(folder, "task=cartpole_torch", "estimator=rloo", "task.games=4", "trainer.steps=2")
    predict.run([f"run={folder}", "checkpoint=last", "seed=3", "task.evaluation_episodes=5"])
    written = folder / "predictions"
    assert {path.name for path in written.iterdir()} == {"agent.gif", "returns.csv", "summary.json"}
    rows = [line.split(",") for line in (written / "returns.csv").read_text().splitlines()[1:]]
    summary = json.loads((written / "summary.json").read_text())
    for policy, mean in (("greedy", "return_mean"), ("stochastic", "return_stochastic")):
        returns = [float(earned) for name, _, earned, _ in rows if name == policy]
        assert len(returns) == 5
        assert sum(returns) / 5 == pytest.approx(summary[mean])
    before = (written / "returns.csv").read_text()
    predict.run([f"run={folder}", "checkpoint=last", "seed=3", "task.evaluation_episodes=5"])
    assert (written / "returns.csv").read_text() == before
    with pytest.raises(UserError, match="takes no input"):
        predict.run([f"run={folder}", "checkpoint=last", f"input={folder}"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("see=[0]", "observation_indices"),
        ("log_spread=0", "log_std_init"),
        ("lives_end=true", "terminal_on_life_loss"),
        ("sticky=0.25", "repeat_action_probability"),
    ],
)
def test_an_option_under_its_old_name_is_refused_in_one_line_that_names_the_new_one(old, new):
    with pytest.raises(UserError) as error:
        framework.compose("task=cartpole", f"task.{old}")
    name = old.partition("=")[0]
    assert str(error.value) == f"unknown key 'task.{name}'; it is called 'task.{new}' now"
