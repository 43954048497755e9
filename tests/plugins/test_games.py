"""Games: no fake step among the valid ones, native games as single ones, and gradients of replay and play."""

import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from framework.commands import train
from framework.errors import UserError
from framework.gradients.estimate import make_estimator
from framework.randomness import seed_torch
from plugins.games.environments import check_name, make_vector
from plugins.games.episodes import Episodes, record
from plugins.games.task import Game
from tests.plugins.counting import LENGTHS, Counting
from tests.runs import Diffobj, result

CPU = torch.device("cpu")
QUIET = ("monitor.tensorboard=false", "monitor.progress=none")


def zeros(observations: Tensor) -> Tensor:
    return torch.zeros(len(observations), dtype=torch.int64)


# --- episodes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_no_fake_step_is_among_the_valid_ones(mode):
    episodes = record(Counting(mode=mode), zeros, 0, CPU)
    first = torch.tensor(LENGTHS[0])
    assert torch.equal(episodes.lengths, first)
    assert torch.equal(episodes.returns, first.float())
    steps = torch.arange(len(episodes.valid)).unsqueeze(1)
    assert torch.equal(episodes.valid, steps < first)
    seen = episodes.observations.squeeze(-1)
    assert torch.equal(seen[episodes.valid], steps.expand_as(seen)[episodes.valid].float())
    assert torch.equal(episodes.rewards, episodes.valid.float())


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_recording_again_begins_every_game_anew(mode):
    vector = Counting(mode=mode)
    first, second = (record(vector, zeros, seed, CPU) for seed in (0, 1))
    assert torch.equal(first.lengths, second.lengths)
    assert torch.equal(first.observations[first.valid], second.observations[second.valid])


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_games_of_one_step_and_of_many(mode):
    vector = Counting(3, mode, lengths=((1, 1, 9),))
    episodes = record(vector, zeros, 0, CPU)
    assert episodes.lengths.tolist() == [1, 1, 9]
    assert episodes.rewards.shape == (9, 3)


def by_angle(observations: Tensor) -> Tensor:
    """Push to the side to which the pole falls."""
    return (observations[:, 2] + observations[:, 3] > 0).long()


def test_native_cartpole_plays_as_single_environments_do():
    vector = make_vector("CartPole-v1", 8)
    episodes = record(vector, by_angle, 11, CPU)
    vector.reset(seed=11)
    starts = numpy.array(vector.unwrapped.state).T  # type: ignore[attr-defined]
    single = gymnasium.make("CartPole-v1")
    for game in range(8):
        single.reset()
        single.unwrapped.state = starts[game].copy()  # type: ignore[attr-defined]
        seen, total, length, ended = starts[game], 0.0, 0, False
        while not ended:
            assert episodes.observations[length, game].numpy() == pytest.approx(seen, abs=1e-4)
            action = int(by_angle(torch.tensor(seen, dtype=torch.float32)[None]).item())
            assert episodes.actions[length, game] == action
            seen, reward, terminated, truncated, _ = single.step(action)
            total, length, ended = total + float(reward), length + 1, terminated or truncated
        assert episodes.lengths[game] == length
        assert episodes.returns[game] == total


def test_the_time_limit_ends_an_episode_at_500_steps():
    def balance(seen: Tensor) -> Tensor:
        return (seen @ torch.tensor([0.1, 0.3, 10.0, 2.0]) > 0).long()

    episodes = record(make_vector("CartPole-v1", 4), balance, 0, CPU)
    assert episodes.lengths.tolist() == [500] * 4
    assert episodes.returns.tolist() == [500.0] * 4


# --- the two programs -----------------------------------------------------------------------------------------------


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Game:
    """A game of counting with a linear policy: three steps, each worth 1, and 2 with action 1."""

    def make(environment: str, count: int) -> Counting:
        return Counting(count, lengths=((3,) * count,))

    monkeypatch.setattr("plugins.games.task.make_vector", make)
    seed_torch(0)
    game = Game(environment="Counting-v0", games=64, hidden=[])
    with torch.no_grad():
        weight, bias = game.parameters.values()
        weight.copy_(torch.tensor([[0.0], [0.3]]))
        bias.zero_()
    return game


def gradient(
    game: Game, program: Any, batch: Episodes | None, estimator: str, **options: Any
) -> Tensor:
    for parameter in game.parameters.values():
        parameter.grad = None
    make_estimator(estimator, None, options).backward(program, game.parameters, batch)
    grads = [p.grad for p in game.parameters.values() if p.grad is not None]
    return torch.cat([g.flatten() for g in grads])


def closed_form() -> Tensor:
    """Of minus the expected return: three steps with logits (0, 0.3 t)."""
    weight = bias = 0.0
    for t in range(3):
        p = 1 / (1 + math.exp(-0.3 * t))
        weight, bias = weight + p * (1 - p) * t, bias + p * (1 - p)
    return torch.tensor([weight, -weight, bias, -bias])


def agrees(estimates: list[Tensor], truth: Tensor) -> bool:
    stacked = torch.stack(estimates)
    error = stacked.std(0) / math.sqrt(len(stacked))
    return bool(((stacked.mean(0) - truth).abs() < 4 * error + 1e-6).all())


def test_replay_and_play_have_the_gradient_of_the_closed_form(counting: Game):
    replay = counting.program(make_estimator("rloo"))
    play = counting.as_program(counting.play_out)
    assert replay.steps
    assert not play.steps
    batches = counting.batches(replay, 0, 0)
    seed_torch(1)
    replayed = [gradient(counting, replay, next(batches), "rloo") for _ in range(60)]
    played = [gradient(counting, play, None, "rloo", samples=64) for _ in range(60)]
    assert agrees(replayed, closed_form())
    assert agrees(played, closed_form())
    spread = [torch.stack(estimates).std(0).norm() for estimates in (replayed, played)]
    assert spread[0] < spread[1]  # rewards to go know more than whole returns


def test_evolution_strategies_see_the_same_gradient_by_playing(counting: Game):
    estimator = make_estimator("evolution_strategies", 64, {"directions": 4, "sigma": 0.1})
    program = counting.program(estimator)
    assert not program.steps
    seed_torch(2)
    options = {"samples": 64, "directions": 4, "sigma": 0.1}
    estimates = [
        gradient(counting, program, None, "evolution_strategies", **options) for _ in range(80)
    ]
    assert agrees(estimates, closed_form())


def test_a_batch_of_episodes_is_keyed_by_its_number(counting: Game):
    program = counting.program(make_estimator("rloo"))
    for start in (0, 3):
        seed_torch(5)
        first = next(counting.batches(program, 1, start))
        seed_torch(5)
        again = next(counting.batches(program, 1, start))
        assert first is not None
        assert again is not None
        assert torch.equal(first.actions, again.actions)


def test_evaluation_is_greedy_and_reproducible():
    game = Game(environment="CartPole-v1", games=4, evaluation_episodes=20)
    with torch.no_grad():
        metrics = game.evaluate(3)
        assert metrics == game.evaluate(3)
        assert metrics != game.evaluate(4)
    assert metrics["return_mean"] == metrics["length_mean"]
    assert metrics["return_min"] <= metrics["return_mean"] <= 500


# --- training -------------------------------------------------------------------------------------------------------


def test_evolution_strategies_train_on_cartpole(tmp_path):
    options = ["estimator=evolution_strategies", "estimator.samples=4", "estimator.directions=2"]
    options += ["trainer.steps=3", "task.evaluation_episodes=5", "task.video_frames=4"]
    folder = tmp_path / "run"
    assert train.run(["experiment=cartpole", *options, *QUIET, f"hydra.run.dir={folder}"]) == 0
    assert result(folder)["metrics"]["return_mean"] >= 5
    assert (folder / "media" / "agent.gif").is_file()


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_cartpole_is_solved(tmp_path, seed):
    folder = tmp_path / "run"
    train.run(["experiment=cartpole", f"seed={seed}", *QUIET, f"hydra.run.dir={folder}"])
    assert result(folder)["metrics"]["return_mean"] >= 475
    assert {p.name for p in Path(folder, "media").iterdir()} == {"agent.gif", "returns.png"}


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ("CartPol-v1", "task.environment = 'CartPol-v1': unknown; did you mean 'CartPole-v1'?"),
        (
            "CartPole",
            "task.environment = 'CartPole': expected a registered name such as CartPole-v1",
        ),
        ("os:CartPole-v1", "task.environment = 'os:CartPole-v1': expected a registered name"),
        (
            "antigravity:Env-v0",
            "task.environment = 'antigravity:Env-v0': expected a registered name",
        ),
        ("", "task.environment = '': expected a registered name"),
        ("Pendulum-v1", "a multilayer policy chooses among Discrete(n) actions, not Box("),
        ("Blackjack-v1", "a multilayer policy sees a Box of numbers, not Tuple("),
        ("FrozenLake-v1", "a multilayer policy sees a Box of numbers, not Discrete(16)"),
        (
            "Ant-v2",
            "task.environment = 'Ant-v2': The mujoco v2 and v3 based environments have been moved",
        ),
    ],
)
def test_an_environment_that_cannot_be_played_is_told_in_one_line(
    tmp_path, monkeypatch, diffobj: Diffobj, environment, said
):
    monkeypatch.chdir(tmp_path)
    outcome = diffobj("train", "experiment=cartpole", f"task.environment='{environment}'")
    assert outcome.status == 2
    assert outcome.err.startswith(f"diffobj: {said}")
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_name_never_imports_a_module():
    import sys

    with pytest.raises(UserError):
        check_name("antigravity:Env-v0")
    assert "antigravity" not in sys.modules


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_registered_environment_plays_or_is_told_in_one_line():
    played, told = [], []
    for environment in sorted(gymnasium.registry):
        try:
            Game(environment=environment, games=1, evaluation_episodes=1)
            played.append(environment)
        except UserError as error:
            told.append(str(error))
    assert {"CartPole-v1", "Acrobot-v1", "MountainCar-v0"} <= set(played)
    assert [message for message in told if "\n" in message] == []
