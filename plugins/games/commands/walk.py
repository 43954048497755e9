"""A random walk through an environment, as it is: what it returned, before anything is made of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from plugins.games.environments.foreign.guarding import reason
from plugins.games.environments.games import Games, Observation


@dataclass
class Walk:
    """What N games returned, a row for each step.

    Attributes:
        observations: one more row than steps: that of the reset.
        rewards, terminated, truncated: `[N]` in each row.
        infos: of the reset and of each step.
        seconds: of all steps.
        error: what the environment raised, which ended the walk.
    """

    observations: list[Any] = field(default_factory=list)
    rewards: list[Any] = field(default_factory=list)
    terminated: list[Any] = field(default_factory=list)
    truncated: list[Any] = field(default_factory=list)
    infos: list[Mapping[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    error: str = ""

    @property
    def ended(self) -> Any:
        """`[T, N]`: an episode ended with this step."""
        return numpy.logical_or(numpy.array(self.terminated), numpy.array(self.truncated))


def walk(vector: Any, seed: int, actions: list[Any]) -> Walk:
    """Reset by a seed and take the given actions; only a failure ends it before the last one."""
    found = Walk()
    # A foreign environment may raise anything.
    try:
        asked = vector.metadata.get("autoreset_mode") == AutoresetMode.DISABLED
        observation, info = vector.reset(seed=seed)
        found.observations.append(kept(observation))
        found.infos.append(info)
        began = time.perf_counter()
        for action in actions:
            observation, reward, terminated, truncated, info = vector.step(action)
            found.observations.append(kept(observation))
            found.rewards.append(numpy.array(reward, dtype=float))
            found.terminated.append(numpy.array(terminated))
            found.truncated.append(numpy.array(truncated))
            found.infos.append(info)
            ended = numpy.logical_or(terminated, truncated)
            if asked and ended.any():
                vector.reset(options={"reset_mask": ended})
        found.seconds = time.perf_counter() - began
    except Exception as error:
        found.error = reason(error)
    return found


def random_actions(vector: Any, steps: int, seed: int) -> list[Any]:
    """Actions of the vector's action space, the same for the same seed."""
    vector.action_space.seed(seed)
    return [vector.action_space.sample() for _ in range(steps)]


def kept(observation: Any) -> Any:
    """A copy: vectors reuse their arrays."""
    if isinstance(observation, Mapping):
        return {name: kept(part) for name, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(kept(part) for part in observation)
    return numpy.array(observation)


class TorchVector:
    """Games in torch with the interface of a gymnasium vector."""

    def __init__(self, games: Games) -> None:
        self.games = games
        self.single_observation_space = games.observation_space
        self.single_action_space = games.action_space
        self.action_space = batch_space(games.action_space, games.count)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def reset(self, *, seed: int) -> tuple[Any, dict[str, Any]]:
        # Later episodes begin by torch's own generator.
        torch.manual_seed(seed)
        return self.arrays(self.games.reset(seed)), {}

    @torch.no_grad()
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        outcome = self.games.step(torch.as_tensor(actions))
        parts = (outcome.rewards, outcome.terminated, outcome.truncated)
        rewards, terminated, truncated = (part.numpy() for part in parts)
        return self.arrays(outcome.observations), rewards, terminated, truncated, {}

    def arrays(self, observation: Observation) -> Any:
        if isinstance(observation, Mapping):
            return {name: part.numpy() for name, part in observation.items()}
        return observation.numpy()


def vector_behind(games: Games) -> VectorEnv[Any, Any, Any] | TorchVector:
    """The vector that games are played in."""
    return getattr(games, "vector", None) or TorchVector(games)
