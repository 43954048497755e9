"""Vectors of a class of one's own: what they must return, in each mode of beginning again."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from framework.errors import UserError
from plugins.games.commands.check_environment import check_environment
from plugins.games.environments.making import make_games
from tests.plugins.games.counter import Counter, vectors

PAIR = Box(-1, 1, (2,), numpy.float32)


def played(environment: Any, steps: int) -> list[Any]:
    """The outcomes of some steps of two games."""
    games = make_games(environment, 2)
    games.reset(0)
    return [games.step(torch.zeros(2, dtype=torch.long)) for _ in range(steps)]


class Own(VectorEnv[Any, Any, Any]):
    """A vector of a class of its own: every episode is cut off after two steps, and begins again at once."""

    metadata: Any = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.clock = num_envs, 0
        self.single_observation_space, self.single_action_space = PAIR, Discrete(2)
        self.observation_space = batch_space(PAIR, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def seen(self) -> Any:
        return numpy.full((self.num_envs, 2), self.clock / 10, "f")

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.clock = 0
        return self.seen(), {}

    def step(self, actions: Any) -> Any:
        self.clock += 1
        none, info = numpy.zeros(self.num_envs, dtype=bool), {}
        cut_off = none | (self.clock == 2)
        if self.clock == 2:
            info = {"final_obs": self.seen(), "_final_obs": cut_off}
            self.clock = 0
        return self.seen(), numpy.ones(self.num_envs), none, cut_off, info


class OfLists(Own):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset()[0].tolist(), {}

    def step(self, actions: Any) -> Any:
        *arrays, info = super().step(actions)
        return (*(array.tolist() for array in arrays), info)


class Unended(Own):
    def step(self, actions: Any) -> Any:
        return (*super().step(actions)[:4], {})


class Upright(Own):
    def step(self, actions: Any) -> Any:
        seen, rewards, *rest = super().step(actions)
        return (seen, rewards[:, None], *rest)


@pytest.mark.parametrize("kind", [Own, OfLists])
def test_a_vector_of_ones_own_may_return_lists(kind):
    first, second = played(kind, 2)
    assert first.rewards.tolist() == [1, 1]
    assert second.truncated.tolist() == [True, True]
    assert second.observations.tolist() == [[0, 0]] * 2
    assert second.final_observation.tolist() == [[pytest.approx(0.2)] * 2] * 2


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Unended, "an episode was truncated, and info has no 'final_obs'; expected its last obs"),
        (Upright, r"failed: rewards of shape \[2, 1\], expected \[2\]; that was failure number 11"),
    ],
)
def test_what_a_vector_of_ones_own_must_return_is_named(kind, message):
    with pytest.raises(UserError, match=message):
        played(kind, 30)


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_vector_is_sound_in_each_mode_of_beginning_again(mode):
    found = check_environment(vectors(lambda i: Counter(), mode))
    assert [f.fix for f in found if f.fix] == []
