"""Environments that raise, return NaN or change their shape: said in one line, survived, or refused if it goes on."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from framework.errors import UserError
from framework.gradients.registered import make_estimator
from framework.randomness import seeded
from plugins.games.environments.foreign.games import ForeignGames
from plugins.games.environments.foreign.guarding import PATIENCE
from plugins.games.environments.making import make_games
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import RolloutBuffer, begin_episodes, collect_rollout
from plugins.games.task import Game
from tests.plugins.games.counter import Counter, game_of, vector_of, vectors

CPU = torch.device("cpu")


class Faulty(Counter):
    """A counter of 6 steps that goes wrong at given steps of its process, counted over all its episodes."""

    steps = 0
    faults: tuple[int, ...] = ()
    kind = "raises"

    def __init__(self) -> None:
        super().__init__(6)

    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        Faulty.steps += 1
        if Faulty.steps in self.faults:
            if self.kind == "raises":
                raise RuntimeError("the simulator diverged\nat a joint")
            if self.kind == "reward":
                reward = float("nan")
            if self.kind == "observation":
                seen = numpy.array([numpy.inf], dtype=numpy.float32)
            if self.kind == "shape":
                seen = numpy.zeros(2, dtype=numpy.float32)
        return seen, reward, *rest


class Diverging(Counter):
    """A counter that raises once, in the given step of a game that is longer."""

    fault = 0

    def step(self, action: Any) -> Any:
        if self.clock + 1 == Diverging.fault < self.length:
            Diverging.fault = 0
            raise RuntimeError("diverged")
        return super().step(action)


@pytest.fixture
def faulty(monkeypatch):
    """Games that go wrong in the given way at the given steps."""

    def make(kind: str, *faults: int, count: int = 1) -> tuple[ForeignGames, Agent]:
        monkeypatch.setattr(Faulty, "steps", 0)
        monkeypatch.setattr(Faulty, "faults", faults)
        monkeypatch.setattr(Faulty, "kind", kind)
        games = ForeignGames("Faulty-v0", lambda: vector_of(lambda i: Faulty(), count), count)
        return games, Agent(games.observation_space, games.action_space, hidden=[4])

    return make


@pytest.mark.parametrize("kind", ["raises", "reward", "observation", "shape"])
def test_a_run_survives_a_fault_and_the_failed_step_counts_for_nothing(faulty, capsys, kind):
    games, agent = faulty(kind, 9)
    with seeded(0):
        rollout, finished = collect_rollout(
            games, agent, begin_episodes(games, agent, 0, CPU), RolloutBuffer(20)
        )
    assert capsys.readouterr().err.count("\n") == 1
    # six steps, a reset, two steps, the fault, six steps, a reset, three steps
    rows = "vvvvvv.vv.vvvvvv.vvv"
    assert rollout.valid[:, 0].tolist() == [row == "v" for row in rows]
    assert isinstance(rollout.observations, torch.Tensor)
    assert rollout.observations[:, 0, 0].tolist() == [
        *range(7),
        *range(3),
        *range(7),
        *range(4),
    ]
    assert rollout.rewards[:, 0].tolist() == [float(row == "v") for row in rows]
    # The episode that broke is in no statistic.
    assert [earned for earned, _ in finished.read().latest] == [6.0, 6.0]
    assert torch.isfinite(rollout.observations).all()


def test_the_advantage_before_a_fault_counts_the_prediction_and_nothing_of_the_next_episode(faulty):
    from framework.gradients.policy_gradient.advantages import Transitions, gae

    games, agent = faulty("raises", 3)
    with seeded(0):
        rollout, _ = collect_rollout(
            games, agent, begin_episodes(games, agent, 0, CPU), RolloutBuffer(6)
        )
    values = torch.full((7, 1), 10.0)
    steps = Transitions(
        rollout.rewards,
        values[:-1],
        values[1:],
        rollout.terminated,
        rollout.truncated,
        rollout.valid,
    )
    advantages = gae(steps, 0.9, 1.0)[:, 0]
    torch.testing.assert_close(advantages[1], torch.tensor(1 + 0.9 * 10 - 10))
    assert advantages[2] == 0


def test_a_fault_leaves_every_game_of_an_evaluation_a_whole_episode(monkeypatch, capsys):
    """Games of 2 to 6 steps, the fourth of which fails in all of them: those that were over keep their result."""
    game = game_of(lambda i: Diverging(2 + i), 5, evaluation_episodes=5)
    monkeypatch.setattr(Diverging, "fault", 4)
    metrics = game.evaluate(0)
    assert capsys.readouterr().err.count("\n") == 1
    for name in ("return_mean", "length_mean", "return_stochastic"):
        assert metrics[name] == 4.0, name
    assert metrics["return_min"] == 2.0


@pytest.mark.parametrize("name", ["rloo", "reinforce", "spsa"])
def test_a_fault_leaves_every_game_that_is_learned_from_a_whole_episode(monkeypatch, name):
    game = game_of(lambda i: Diverging(2 + i), 5)
    estimator = make_estimator(name, 5)
    monkeypatch.setattr(Diverging, "fault", 4)
    with seeded(0):
        rollout = next(game.batches(game.program(estimator), 0, 0))
        if rollout is not None:
            assert rollout.returns.tolist() == rollout.lengths.tolist() == [2, 3, 4, 5, 6]
            for n, begins in enumerate([0, 0, 4, 4, 4]):  # after the fault's row
                rows = torch.arange(len(rollout.valid))
                assert torch.equal(rollout.valid[:, n], (rows >= begins) & (rows < begins + 2 + n))
            assert rollout.episode_start[[0, 4]].all()
        estimate = estimator.backward(game.program(estimator), game.parameters, rollout)
    assert estimate.objective == -4
    assert game.log.scalars.get("train/return", 4) == 4


class Reluctant(Counter):
    """A counter whose resets go wrong at given numbers of them."""

    resets = 0
    faults: tuple[int, ...] = ()
    kind = "raises"

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        seen, info = super().reset(seed=seed)
        Reluctant.resets += 1
        if Reluctant.resets in self.faults:
            if self.kind == "raises":
                raise RuntimeError("no licence")
            seen = seen * numpy.nan
        return seen, info


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("kind", ["raises", "returns NaN"])
def test_a_reset_that_fails_is_survived_in_every_mode(monkeypatch, capsys, kind, mode):
    """The first reset of all and that after the first episode."""
    monkeypatch.setattr(Reluctant, "resets", 0)
    monkeypatch.setattr(Reluctant, "faults", (1, 3))
    monkeypatch.setattr(Reluctant, "kind", kind)
    games = make_games(vectors(lambda i: Reluctant(), mode), 1)
    agent = Agent(games.observation_space, games.action_space, hidden=[4])
    with seeded(0):
        rollout, finished = collect_rollout(
            games, agent, begin_episodes(games, agent, 0, CPU), RolloutBuffer(20)
        )
    assert capsys.readouterr().err.count("are restarted\n") == 2
    assert torch.isfinite(rollout.observations).all()  # type: ignore[arg-type]
    assert {earned for earned, _ in finished.read().latest} == {5.0}


def test_resets_that_go_on_failing_end_the_run_in_one_line(monkeypatch):
    monkeypatch.setattr(Reluctant, "resets", 0)
    monkeypatch.setattr(Reluctant, "faults", tuple(range(1, 100)))
    with pytest.raises(UserError, match="no licence; that was failure number 11"):
        make_games(vectors(lambda i: Reluctant()), 1).reset(0)


class Unlicensed(Counter):
    """An environment that cannot be constructed."""

    def __init__(self) -> None:
        raise RuntimeError("licence missing\nsecond line")


class Plain(Counter):
    """An environment that knows nothing of drawing."""

    def __init__(self) -> None:
        super().__init__()


@pytest.fixture
def registered():
    """Two environments in gymnasium's registry."""
    gymnasium.register("Unlicensed-v0", f"{__name__}:Unlicensed")
    gymnasium.register("Plain-v0", f"{__name__}:Plain")
    yield
    for name in ("Unlicensed-v0", "Plain-v0"):
        gymnasium.registry.pop(name)


def test_an_environment_that_cannot_be_built_is_reported_in_one_line(registered):
    with pytest.raises(UserError) as error:
        Game(environment="Unlicensed-v0")
    assert str(error.value) == "task.environment = 'Unlicensed-v0': licence missing"


def test_an_environment_that_takes_no_render_mode_leaves_no_film(registered, capsys):
    game = Game(environment="Plain-v0", hidden=[4])
    assert list(game.video(0)) == []
    message = capsys.readouterr().err
    assert "render_mode" in message
    assert message.endswith("; there is no film\n")
    assert message.count("\n") == 1


def test_a_fault_in_a_process_is_reported_in_one_line(monkeypatch, capfd, recwarn):
    monkeypatch.setattr(Diverging, "fault", 2)  # the processes inherit it
    games = make_games(Diverging, 1, processes=True)
    games.reset(0)
    for _ in range(2):
        games.step(torch.zeros(1, dtype=torch.long))
    games.close()
    assert [str(w.message) for w in recwarn if "ERROR" in str(w.message)] == []
    message = capfd.readouterr().err
    assert message == "environment 'Diverging' failed: diverged; the game is restarted\n"


B = Box(-1, 1, (2,), numpy.float32)


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (Dict(a=Dict(b=B), c=B), Discrete(2), "no policy reads the observations"),
        (Dict(action_mask=MultiBinary(2)), Discrete(2), "one at least besides 'action_mask'"),
        (Dict(x=B, action_mask=MultiBinary(3)), Discrete(2), "one entry for each of 2 choices"),
        (Dict(x=B, action_mask=MultiBinary(2)), B, "expected none: the actions are continuous"),
    ],
)
def test_what_no_agent_can_read_is_refused_before_it_is_built(observations, actions, message):
    with pytest.raises(UserError, match=message) as error:
        Agent(observations, actions)
    assert "\n" not in str(error.value)


def test_an_environment_that_goes_on_failing_ends_the_run_in_one_line(faulty):
    games, agent = faulty("raises", *range(1, 100))
    with pytest.raises(UserError, match="diverged; that was failure number 11") as error, seeded(0):
        collect_rollout(
            games, agent, begin_episodes(games, agent, 0, CPU), RolloutBuffer(PATIENCE + 1)
        )
    assert "\n" not in str(error.value)


def test_an_environment_that_cannot_be_rendered_is_reported_once_and_leaves_no_film(faulty, capsys):
    games, agent = faulty("cannot be drawn")
    games.rendered, games.vector.render = True, lambda: 1 / 0
    game = Game(environment="cart_pole")
    game.model = agent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plugins.games.film.make_games", lambda *_, **__: games)
        assert list(game.video(0)) == []
    message = capsys.readouterr().err
    assert message == (
        "environment 'Faulty-v0' cannot be rendered here: division by zero; there is no film\n"
    )


def test_a_process_for_each_game_plays_the_same_games():
    """Three cart-poles in processes and in this one: the same seeds and actions, the same observations."""
    actions = torch.tensor([[0, 1, 0], [1, 1, 0], [0, 0, 1]])
    seen = []
    for processes in (False, True):
        games = make_games("MountainCar-v0", 3, processes=processes)
        rows = [games.reset(5), *(games.step(row).observations for row in actions)]
        games.close()
        seen.append(torch.stack([row for row in rows if isinstance(row, torch.Tensor)]))
    assert torch.equal(seen[0], seen[1])


def test_only_the_games_of_training_have_processes():
    game = Game(environment="MountainCar-v0", games=2, processes=True, evaluation_episodes=3)
    kinds = {
        purpose: type(getattr(game.experience.vector(2, purpose), "vector", None))
        for purpose in ("training", "evaluation")
    }
    game.experience.vector(2).close()
    assert kinds["training"] is AsyncVectorEnv
    assert kinds["evaluation"] is not AsyncVectorEnv


def test_a_game_in_torch_has_no_window():
    game = Game(environment="snake", hidden=[4], window=True)
    with pytest.raises(UserError, match="has no window"):
        list(game.predict(None, 0))
