"""A vector of games whose observation is the number of steps made: any mistake with autoreset shows in the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

LENGTHS = ((3, 5, 1, 4), (2, 1, 6, 3))  # of each game's first, second, third ... episode in turn


class Counting(VectorEnv[Any, Any, Any]):
    """Game i's episode e lasts `lengths[e % len(lengths)][i]` steps; each step is worth 1, a step of action 1 worth 2.

    Odd episodes are truncated, even ones terminated. The observation is the number of steps made in the episode.
    """

    def __init__(
        self,
        num_envs: int = 4,
        mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        lengths: Sequence[Sequence[int]] = LENGTHS,
    ) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": mode}
        self.mode, self.lengths = mode, numpy.array(lengths)
        self.single_observation_space = Box(-1, 1000, (1,))
        self.single_action_space = Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.episode = numpy.zeros(num_envs, dtype=int)
        self.count = numpy.zeros(num_envs, dtype=int)
        self.ended = numpy.zeros(num_envs, dtype=bool)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[numpy.float32], dict[str, Any]]:
        mask = (options or {}).get("reset_mask")
        if mask is None:
            self.episode[:] = 0
            mask = numpy.ones(self.num_envs, dtype=bool)
        else:
            assert self.mode == AutoresetMode.DISABLED
            self.episode[mask] += 1
        self.count[mask] = 0
        self.ended[mask] = False
        return self.seen(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        resets = self.ended.copy()
        assert not (resets.any() and self.mode != AutoresetMode.NEXT_STEP), (
            "stepped a finished game"
        )
        self.episode += resets
        self.count = numpy.where(resets, 0, self.count + 1)
        rewards = numpy.where(resets, 0.0, 1.0 + numpy.asarray(actions))
        columns = numpy.arange(self.num_envs)
        self.ended = ~resets & (
            self.count >= self.lengths[self.episode % len(self.lengths), columns]
        )
        truncated = self.ended & (self.episode % 2 == 1)
        terminated = self.ended & ~truncated
        info: dict[str, Any] = {}
        if self.mode == AutoresetMode.SAME_STEP and self.ended.any():
            info = {"final_obs": self.seen(), "_final_obs": self.ended.copy()}
            self.episode += self.ended
            self.count[self.ended] = 0
            self.ended = numpy.zeros(self.num_envs, dtype=bool)
        return self.seen(), rewards, terminated, truncated, info

    def seen(self) -> NDArray[numpy.float32]:
        return self.count.astype(numpy.float32)[:, None]
