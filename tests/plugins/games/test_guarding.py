"""One game that fails: the others go on, it alone begins again; and a rate, no count, says when it is too much."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch

from framework.errors import UserError
from framework.randomness import seeded
from plugins.games.environments.foreign.guarding import Failures
from plugins.games.environments.making import make_games
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import RolloutBuffer, begin_episodes, collect_rollout
from tests.plugins.games.counter import Counter

CPU = torch.device("cpu")


class Sick(Counter):
    """A counter to 6 that goes wrong in its fourth step; of all games that are made, only number `at` does."""

    made = 0
    at = 1
    kind = "raises"
    again = False

    def __init__(self) -> None:
        super().__init__(6)
        self.number = Sick.made
        Sick.made += 1

    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        if self.number == self.at and self.clock == 4:
            if not self.again:
                self.number = -1
            if self.kind == "raises":
                raise RuntimeError("lost\nits way")
            if self.kind == "reward":
                reward = numpy.nan
            if self.kind == "observation":
                seen = seen + numpy.inf
        return seen, reward, *rest


def sick(monkeypatch: Any, kind: str, processes: bool = False) -> Any:
    monkeypatch.setattr(Sick, "kind", kind)
    games = make_games(Sick, 3, processes=processes)
    if not processes:
        # Those that were made to look at them do not count.
        for number, game in enumerate(games.vector.envs):  # type: ignore[attr-defined]
            game.unwrapped.number = number
    return games


@pytest.mark.parametrize("kind", ["raises", "reward", "observation"])
def test_the_failed_game_alone_begins_again(monkeypatch, capsys, kind):
    games = sick(monkeypatch, kind)
    agent = Agent(games.observation_space, games.action_space, hidden=[4])
    with seeded(0):
        state = begin_episodes(games, agent, 0, CPU)
        rollout, finished = collect_rollout(games, agent, state, RolloutBuffer(14))
    rows = ["".join("v" if valid else "." for valid in column) for column in rollout.valid.T]
    assert rows[0] == rows[2] == "vvvvvv.vvvvvv."
    # The failed step, where it is looked at only afterwards one more, and the reset.
    assert rows[1] == ("vvv..vvvvvv.vv" if kind == "raises" else "vvv...vvvvvv.v")
    assert torch.isfinite(rollout.observations).all()  # type: ignore[arg-type]
    assert rollout.rewards.sum(0).tolist() == [row.count("v") for row in rows]
    assert [earned for earned, _ in finished.read().latest] == [6.0] * 5
    assert not (rollout.terminated | rollout.truncated)[:6, 1].any()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("environment 'Sick' failed: ")
    assert said.endswith("; the game is restarted\n")


def test_one_in_a_hundred_rewards_that_are_no_number_ends_no_run(capsys):
    class Noisy(Counter):
        def step(self, action: Any) -> Any:
            seen, reward, *rest = super().step(action)
            if self.np_random.random() < 0.01:
                reward = numpy.nan
            return seen, reward, *rest

    games = make_games(lambda: Noisy(20), 16)
    agent = Agent(games.observation_space, games.action_space, hidden=[4])
    with seeded(0):
        state = begin_episodes(games, agent, 0, CPU)
        rollout, finished = collect_rollout(games, agent, state, RolloutBuffer(600))
    failures = games.failures.count  # type: ignore[attr-defined]
    steps = int(rollout.valid.sum())
    assert abs(failures / (steps + failures) - 0.01) < 4 * (0.01 / steps) ** 0.5
    ended = finished.read()
    assert {earned for earned, _ in ended.latest} == {20.0}
    # An episode of 20 steps comes to its end with probability 0.99^20 = 0.82.
    share = ended.number / (ended.number + failures)
    assert abs(share - 0.82) < 4 * (0.82 * 0.18 / ended.number) ** 0.5
    # Three, then the tenth.
    assert capsys.readouterr().err.count("\n") == 4


@pytest.mark.parametrize("kind", ["raises", "reward"])
def test_what_can_never_work_ends_the_run_at_once(kind):
    class Broken(Counter):
        def step(self, action: Any) -> Any:
            if kind == "raises":
                raise RuntimeError("no licence\nat all")
            return self.seen(), numpy.nan, False, False, {}

    games = make_games(Broken, 64)
    games.reset(0)
    with pytest.raises(UserError, match=r"; that was failure number 11$") as error:
        games.step(torch.zeros(64, dtype=torch.long))
    assert "\n" not in str(error.value)


def test_a_rate_above_a_tenth_is_too_much_and_one_below_is_not():
    """After each failure 9 or 11 sound steps."""
    for sound, survives in ((11, True), (9, False)):
        failures = Failures("rate")
        survived = True
        try:
            for _ in range(200):
                failures.add("once more", "the game is")
                failures.sound(numpy.ones(sound))
        except UserError:
            survived = False
        assert survived == survives


def test_a_failure_in_a_process_leaves_the_process(monkeypatch, capfd):
    class Once(Counter):
        def step(self, action: Any) -> Any:
            if self.clock == 2:
                raise RuntimeError("lost")
            return super().step(action)

    games = make_games(Once, 2, processes=True)
    games.reset(0)
    rows = [games.step(torch.zeros(2, dtype=torch.long)).valid.tolist() for _ in range(5)]
    games.close()
    assert rows == [[True] * 2, [True] * 2, [False] * 2, [False] * 2, [True] * 2]
    assert capfd.readouterr().err == "environment 'Once' failed: lost; the game is restarted\n" * 2
