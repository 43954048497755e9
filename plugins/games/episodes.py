"""Whole episodes, one from each game of a vector: played by a policy, recorded as `[T, N]` tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from plugins.games.environments import autoreset_mode

Act = Callable[[Tensor], Tensor]  # observations [N, ...] -> actions [N]


@dataclass(frozen=True)
class Episodes:
    """N recorded episodes; T is the longest one's length.

    Attributes:
        observations: `[T, N, ...]`, what was seen before each action.
        actions: `[T, N]`.
        rewards: `[T, N]`, 0 behind an episode's end.
        valid: `[T, N]`, true up to the step that ended the episode.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    valid: Tensor

    @property
    def returns(self) -> Tensor:
        """Each episode's sum of rewards, `[N]`."""
        return self.rewards.sum(0)

    @property
    def lengths(self) -> Tensor:
        """Each episode's number of steps, `[N]`."""
        return self.valid.sum(0)


@dataclass(frozen=True)
class Step:
    """One step of all games: `observations [N, ...]`, `actions [N]`, `rewards [N]` and `valid [N]`."""

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    valid: Tensor


def play(
    vector: VectorEnv[Any, Any, Any], act: Act, seed: int, device: torch.device
) -> Iterator[Step]:
    """Play one episode in every game and yield each step, until the last game has ended.

    A game that has ended before the others goes on being stepped by the vector. Nothing of that is valid: neither the
    step on which a NEXT_STEP vector ignores the action and returns the new episode's first observation, nor that new
    episode.
    """
    observations, _ = vector.reset(seed=seed)
    by_hand = autoreset_mode(vector) == AutoresetMode.DISABLED
    valid = numpy.ones(vector.num_envs, dtype=bool)
    while valid.any():
        seen = torch.from_numpy(numpy.array(observations, dtype=numpy.float32)).to(device)
        actions = act(seen)
        observations, rewards, terminated, truncated, _ = vector.step(actions.cpu().numpy())
        now = torch.from_numpy(valid.copy()).to(device)
        earned = torch.from_numpy(numpy.where(valid, rewards, 0.0).astype(numpy.float32)).to(device)
        yield Step(seen, actions, earned, now)
        ended = numpy.logical_or(terminated, truncated)
        valid &= ~ended
        if by_hand and ended.any():
            observations, _ = vector.reset(options={"reset_mask": ended})


def record(vector: VectorEnv[Any, Any, Any], act: Act, seed: int, device: torch.device) -> Episodes:
    """Play one episode in every game and keep all of it."""
    steps = list(play(vector, act, seed, device))
    return Episodes(
        observations=torch.stack([step.observations for step in steps]),
        actions=torch.stack([step.actions for step in steps]),
        rewards=torch.stack([step.rewards for step in steps]),
        valid=torch.stack([step.valid for step in steps]),
    )
