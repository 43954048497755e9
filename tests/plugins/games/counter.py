"""Small environments whose right answers are known: counters, masks, every action space."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from framework.gradients.estimator import Estimate, Estimator
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import Rollout
from plugins.games.task import Game

LENGTH = 5


class Counter(gymnasium.Env[Any, Any]):
    """Sees the number of the step within its episode; every step earns 1."""

    observation_space: Any = Box(0, 100, (1,), numpy.float32)
    action_space: Any = Discrete(2)

    def __init__(self, length: int = LENGTH, terminates: bool = False) -> None:
        self.length = length
        self.terminates = terminates
        self.clock = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.clock = 0
        return self.seen(), {}

    def step(self, action: Any) -> Any:
        self.clock += 1
        ends = self.clock >= self.length
        return self.seen(), 1.0, ends and self.terminates, ends and not self.terminates, {}

    def seen(self) -> Any:
        return numpy.array([self.clock], dtype=numpy.float32)


class Choosy(Counter):
    """A counter with any action space; an action mask where one is given."""

    def __init__(self, actions: Any, choices: int = 0) -> None:
        super().__init__()
        self.action_space = actions
        self.choices = choices
        if choices:
            self.observation_space = Dict(
                count=Box(0, 100, (1,), numpy.float32), action_mask=MultiBinary(choices)
            )

    def seen(self) -> Any:
        if not self.choices:
            return super().seen()
        allowed = numpy.ones(self.choices, dtype=numpy.int8)
        allowed[self.clock % self.choices] = 0
        return {"count": super().seen(), "action_mask": allowed}


SPACES: dict[str, tuple[Any, str]] = {
    "discrete": (Discrete(4), "clipped"),
    "discrete from 2 on": (Discrete(3, start=2), "clipped"),
    "multi-discrete": (MultiDiscrete([3, 2, 4]), "clipped"),
    "multi-binary": (MultiBinary(3), "clipped"),
    "clipped": (Box(-2, 5, (2,), numpy.float32), "clipped"),
    "unbounded": (Box(-numpy.inf, numpy.inf, (2,), numpy.float32), "clipped"),
    "half-bounded": (Box(numpy.array([0, -9], "f"), numpy.array([9, numpy.inf], "f")), "clipped"),
    "squashed": (Box(-2, 5, (2,), numpy.float32), "squashed"),
    "beta": (Box(-2, 5, (2, 2), numpy.float32), "beta"),
}


def vector_of(make: Any, count: int, mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> Any:
    """`count` games built by `make(i)`."""
    return SyncVectorEnv([partial(make, i) for i in range(count)], autoreset_mode=mode)


def vectors(make: Any, mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> Any:
    """A function of `num_envs` to the vector of what `make(i)` makes."""

    def counters(num_envs: int) -> Any:
        return vector_of(make, num_envs, mode)

    return counters


def game_of(
    make: Any,
    count: int,
    mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    **options: Any,
) -> Game:
    """The task of playing an environment that no registry knows."""
    torch.manual_seed(0)
    game = Game(environment=vectors(make, mode), games=count, hidden=[8], **options)
    decided(game.model)
    return game


def decided(agent: Agent) -> Agent:
    """The agent with preferences: undecided policies would hide differences."""
    with torch.no_grad():
        for parameter in agent.head.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.5)
    return agent


def learn(game: Game, estimator: Estimator, batch: Rollout) -> Estimate:
    """One gradient of the task's own program, into `.grad`."""
    game.model.zero_grad()
    return estimator.backward(game.program(estimator), game.parameters, batch)
