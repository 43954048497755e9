"""Environments that raise, return NaN or change their shape: said in one line, survived, or refused if it goes on."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch

from framework.errors import UserError
from framework.randomness import seeded
from plugins.games.environments import gymnasium_games
from plugins.games.environments.gymnasium_games import PATIENCE, GymnasiumGames
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import Storage, begin, play_episodes, record
from plugins.games.task import Game
from tests.plugins.games.counter import Counter, vector_of

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


@pytest.fixture
def faulty(monkeypatch):
    """Games that go wrong in the given way at the given steps."""

    def make(kind: str, *faults: int, count: int = 1) -> tuple[GymnasiumGames, Agent]:
        monkeypatch.setattr(Faulty, "steps", 0)
        monkeypatch.setattr(Faulty, "faults", faults)
        monkeypatch.setattr(Faulty, "kind", kind)
        monkeypatch.setattr(
            gymnasium_games, "make_vector", lambda *_: vector_of(lambda i: Faulty(), count)
        )
        games = GymnasiumGames("Faulty-v0", count)
        return games, Agent(games.observation_space, games.action_space, hidden=[4])

    return make


@pytest.mark.parametrize("kind", ["raises", "reward", "observation", "shape"])
def test_a_run_survives_a_fault_and_the_failed_step_counts_for_nothing(faulty, capsys, kind):
    games, agent = faulty(kind, 9)
    with seeded(0):
        made, finished = record(games, agent, begin(games, agent, 0, CPU), Storage(20))
    assert capsys.readouterr().err.count("\n") == 1
    # six steps, a reset, two steps, the fault, six steps, a reset, three steps
    rows = "vvvvvv.vv.vvvvvv.vvv"
    assert made.valid[:, 0].tolist() == [row == "v" for row in rows]
    assert isinstance(made.observations, torch.Tensor)
    assert made.observations[:, 0, 0].tolist() == [
        *range(7),
        *range(3),
        *range(7),
        *range(4),
    ]
    assert made.rewards[:, 0].tolist() == [float(row == "v") for row in rows]
    assert finished.returns.tolist() == [6.0, 6.0]  # the episode that broke is in no statistic
    assert torch.isfinite(made.observations).all()


def test_the_advantage_before_a_fault_counts_the_prediction_and_nothing_of_the_next_episode(faulty):
    from framework.gradients.trajectory import Transitions, gae

    games, agent = faulty("raises", 3)
    with seeded(0):
        made, _ = record(games, agent, begin(games, agent, 0, CPU), Storage(6))
    values = torch.full((7, 1), 10.0)
    steps = Transitions(
        made.rewards, values[:-1], values[1:], made.terminated, made.truncated, made.valid
    )
    advantages = gae(steps, 0.9, 1.0)[:, 0]
    torch.testing.assert_close(advantages[1], torch.tensor(1 + 0.9 * 10 - 10))
    assert advantages[2] == 0


def test_whole_episodes_are_cut_off_at_a_fault(faulty):
    games, agent = faulty("raises", 4)

    def act(observation, state, fresh):
        return torch.zeros(1, dtype=torch.long), state

    played = play_episodes(games, agent, act, 0, CPU)
    assert played.returns.tolist() == played.lengths.tolist() == [3.0]


def test_an_environment_that_goes_on_failing_ends_the_run_in_one_line(faulty):
    games, agent = faulty("raises", *range(1, 100))
    with pytest.raises(UserError, match="diverged; that was failure number 11") as told, seeded(0):
        record(games, agent, begin(games, agent, 0, CPU), Storage(PATIENCE + 1))
    assert "\n" not in str(told.value)


def test_an_environment_that_cannot_be_drawn_is_said_once_and_leaves_no_film(faulty, capsys):
    games, agent = faulty("cannot be drawn")
    games.drawn, games.vector.render = True, lambda: 1 / 0
    game = Game(environment="cart_pole")
    game.model = agent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plugins.games.task.make_games", lambda *_, **__: games)
        assert list(game.video(0)) == []
    told = capsys.readouterr().err
    assert told == (
        "environment 'Faulty-v0' cannot be drawn here: division by zero; there is no film\n"
    )


def test_a_process_for_each_game_plays_the_same_games():
    """Three cart-poles in processes and in this one: the same seeds and actions, the same observations."""
    actions = torch.tensor([[0, 1, 0], [1, 1, 0], [0, 0, 1]])
    seen = []
    for processes in (False, True):
        games = GymnasiumGames("MountainCar-v0", 3, processes=processes)
        rows = [games.reset(5), *(games.step(row).observations for row in actions)]
        games.close()
        seen.append(torch.stack([row for row in rows if isinstance(row, torch.Tensor)]))
    assert torch.equal(seen[0], seen[1])


def test_a_game_in_torch_has_no_window():
    game = Game(environment="snake", hidden=[4], window=True)
    with pytest.raises(UserError, match="has no window"):
        list(game.predict(None, 0))
