"""The interface of every vector of games: N games stepped at once, tensors in and tensors out, on one device.

A game whose episode ended begins the next one by itself. Most vectors do so in the step after the end: that step
ignores the action and is not `valid`, and the observation before it is still the ended episode's final one. Vectors
that reset at once return that final observation separately.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy
import torch
from gymnasium import Space
from numpy.typing import NDArray
from torch import Tensor

# [N, ...], or several such by name.
Observation = Tensor | dict[str, Tensor]
# [H, W, 3]
Frame = NDArray[numpy.uint8]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step of all games led to; every tensor's first axis is N.

    Attributes:
        observations: what the next action is chosen from.
        rewards: `[N]`, 0 where the step is not valid.
        terminated: `[N]`, the game itself ended.
        truncated: `[N]`, the episode was cut off, as by a time limit, though the game would have gone on.
        valid: `[N]`, false for steps that only reset a game.
        episode_start: `[N]`, `observations` begins a new episode.
        final_observation: what the step led to, where games reset at once; None: it is `observations`.
        life_lost: `[N]`, a life was lost and the game goes on; None for games without lives.
    """

    observations: Observation
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    episode_start: Tensor
    final_observation: Observation | None = None
    life_lost: Tensor | None = None


class Games(ABC):
    """`count` games of one kind, played in step."""

    count: int
    # Spaces of one game.
    observation_space: Space[Any]
    action_space: Space[Any]
    # Rewards can be differentiated with respect to actions.
    differentiable: ClassVar[bool] = False
    # A step needs nothing from the CPU.
    on_device: ClassVar[bool] = False
    # A step may cost one of several lives.
    has_lives: ClassVar[bool] = False
    frames_per_second: float = 25.0
    # Parts of the environment's observations that no policy reads.
    left_out: Sequence[str] = ()
    # No episode has more steps than this.
    time_limit: int | None = None
    # Seconds spent in steps so far.
    seconds: float = 0.0

    def read(self, observation: Any) -> Any:
        """What an agent gets of an environment's own observation."""
        return observation

    @abstractmethod
    def reset(self, seed: int) -> Observation:
        """Restart all games; the same seed gives the same games."""

    @abstractmethod
    def step(self, actions: Tensor) -> Outcome:
        """Play one action `[N, ...]` in each game."""

    def timed_step(self, actions: Tensor) -> Outcome:
        """`step`, its duration added to `seconds`."""
        began = time.monotonic()
        outcome = self.step(actions)
        self.seconds += time.monotonic() - began
        return outcome

    def render(self) -> Frame | None:
        """A picture of the first game; None where it cannot be rendered."""
        return None

    def state_dict(self) -> dict[str, Any] | None:
        """The games as they stand, tensors and plain Python; None where they cannot be saved."""
        return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            NotRepeatable: games that are not in torch do not come back as they were.
        """

    def report_cut_off(self) -> None:
        """Say once, where it is not known, that an episode was truncated by `time_limit`."""

    def close(self) -> None:
        """Release windows and processes."""


def choose(condition: Tensor, if_true: Tensor, if_false: Tensor) -> Tensor:
    """`torch.where` with a condition `[N]` for tensors `[N, ...]`."""
    return torch.where(condition.reshape(-1, *[1] * (if_true.dim() - 1)), if_true, if_false)
