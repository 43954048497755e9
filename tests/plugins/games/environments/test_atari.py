"""Atari by ale-py: full scores, lost lives, clipped rewards and a film of the very game that is played."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from framework.errors import UserError
from framework.randomness import seeded
from framework.recording.context import Context
from plugins.games.environments.atari import name_of
from plugins.games.environments.making import make_games
from plugins.games.objectives import rollouts
from plugins.games.rollouts import RolloutBuffer, begin_episodes, collect_rollout
from plugins.games.task import Game
from tests.runs import Diffobj, result

CPU = torch.device("cpu")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(UserError, match=r"make install EXTRAS=atari") as error:
        make_games("ALE/Pong-v5", 1)
    assert "\n" not in str(error.value)


def test_an_unknown_game_is_refused_with_the_nearest():
    pytest.importorskip("ale_py")
    with pytest.raises(UserError, match=r"nearest: ALE/Pong-v5, "):
        make_games("ALE/Pongg-v5", 1)


def test_names_are_gymnasiums():
    gymnasium = pytest.importorskip("gymnasium")
    gymnasium.register_envs(pytest.importorskip("ale_py"))
    known = [name_of(rom) for rom in ("pong", "breakout", "ms_pacman", "space_invaders")]
    assert all(name in gymnasium.registry for name in known)


@pytest.mark.slow
def test_a_lost_life_ends_nothing_but_what_is_learned_from():
    """Breakout by chance: five lives a game; the game goes on after each but the last."""
    pytest.importorskip("ale_py")
    torch.manual_seed(0)
    game = Game(
        environment="ALE/Breakout-v5", games=4, hidden=[8], shared=True, terminal_on_life_loss=True
    )
    games = game.experience.vector(4)
    with seeded(0):
        rollout, finished = collect_rollout(
            games, game.model, begin_episodes(games, game.model, 0, CPU), RolloutBuffer(250)
        )
    assert rollout.life_lost is not None
    assert not (rollout.life_lost & (rollout.terminated | ~rollout.valid)).any()
    over = int(rollout.terminated.sum())
    assert over == finished.read().number >= 2
    assert 4 * over <= int(rollout.life_lost.sum()) <= 4 * over + 4 * 4
    context = Context(lambda site: game_rule(), (250, 4), recorded_trajectories=True)
    rollouts(game.experience, context, rollout)
    assert context.trace.prediction is not None
    assert torch.equal(context.trace.prediction.terminated, rollout.terminated | rollout.life_lost)


def game_rule():
    from framework.gradients.score_function import ScoreFunction

    return ScoreFunction()


@pytest.mark.slow
def test_sticky_actions_change_the_game_and_are_off_by_default():
    pytest.importorskip("ale_py")
    scores = []
    for probability in (None, 0.0, 0.25):
        options: dict[str, Any] = (
            {} if probability is None else {"repeat_action_probability": probability}
        )
        games = Game(environment="ALE/Breakout-v5", hidden=[4], **options).experience.vector(2)
        games.reset(3)
        seen = [games.step(torch.tensor([t % 4] * 2)).observations for t in range(60)]
        scores.append(torch.stack([part for part in seen if isinstance(part, torch.Tensor)]))
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[1], scores[2])


def test_rewards_are_clipped_for_learning_only():
    game = Game(environment="cart_pole", hidden=[4], clip_rewards=True, reward_scale=2.0)
    assert game.experience.learning_rewards(torch.tensor([-7.0, 0.5, 4.0])).tolist() == [
        -2.0,
        1.0,
        2.0,
    ]


def test_the_film_shows_the_game_that_is_played():
    """The grey picture that the agent sees is the coloured frame's, scaled down."""
    pytest.importorskip("ale_py")
    games = make_games("ALE/Breakout-v5", 1, rendered=True)
    games.reset(3)
    for number in range(60):
        outcome = games.step(torch.tensor([number % 4]))
    frame = games.render()
    assert frame is not None
    assert frame.shape == (210, 160, 3)
    assert isinstance(outcome.observations, torch.Tensor)
    seen = outcome.observations[0, -1].numpy().astype(float)
    rows = numpy.linspace(0, 209, 84).round().astype(int)
    columns = numpy.linspace(0, 159, 84).round().astype(int)
    grey = frame.astype(float).max(-1)[numpy.ix_(rows, columns)]
    assert numpy.corrcoef(grey.ravel(), seen.ravel())[0, 1] > 0.8


@pytest.mark.slow
def test_pong_learns_some_steps_and_reports_the_full_score(tmp_path: Path, diffobj: Diffobj):
    pytest.importorskip("ale_py")
    options = ["task.games=2", "task.rollout_steps=8", "trainer.steps=16", "task.hidden=[16]"]
    options += ["estimator.minibatches=2", "task.evaluation_episodes=1", "task.video_frames=4"]
    outcome = diffobj(
        "train",
        "experiment=pong",
        *options,
        "monitor.tensorboard=false",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert outcome.status == 0
    assert -21 <= result(tmp_path / "run")["metrics"]["return_mean"] <= 21
