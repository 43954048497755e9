"""What every vector of games is: N games stepped at once, tensors in and tensors out, on one device.

A game whose episode ended begins the next one by itself. Most vectors do so in the step behind the end: that step
ignores the action and is not `valid`, and the observation before it is still the ended episode's last one. Vectors
that reset at once hand that last observation out separately.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy
import torch
from gymnasium import Space
from numpy.typing import NDArray
from torch import Tensor

Observation = Tensor | dict[str, Tensor]  # [N, ...], or several such by name
Frame = NDArray[numpy.uint8]  # [H, W, 3]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step of all games led to; every tensor's first axis is N.

    Attributes:
        observations: what the next action is chosen from.
        rewards: `[N]`, 0 where the step is not valid.
        terminated: `[N]`, the game itself ended.
        truncated: `[N]`, the episode was cut off, though the game would have gone on.
        valid: `[N]`, false for steps that only began a new episode.
        fresh: `[N]`, `observations` begins a new episode.
        last: where games reset at once, what the step really led to; None: it is `observations`.
        lost: `[N]`, a life was lost and the game goes on; None for games without lives.
    """

    observations: Observation
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    fresh: Tensor
    last: Observation | None = None
    lost: Tensor | None = None


class Games(ABC):
    """`count` games of one kind, played in step."""

    count: int
    observation_space: Space[Any]  # of one game
    action_space: Space[Any]
    differentiable: ClassVar[bool] = False  # rewards can be differentiated through actions
    has_lives: ClassVar[bool] = False  # a step may cost one of several lives
    frames_per_second: float = 25.0
    seconds: float = 0.0  # spent in steps so far

    @abstractmethod
    def reset(self, seed: int) -> Observation:
        """Begin all games anew; the same seed, the same games."""

    @abstractmethod
    def step(self, actions: Tensor) -> Outcome:
        """Play one action `[N, ...]` in each game."""

    def timed_step(self, actions: Tensor) -> Outcome:
        """`step`, its time counted."""
        began = time.monotonic()
        outcome = self.step(actions)
        self.seconds += time.monotonic() - began
        return outcome

    def draw(self) -> Frame | None:
        """A picture of the first game; None where it cannot be drawn."""
        return None

    def state_dict(self) -> dict[str, Any] | None:
        """The games as they stand, tensors and plain Python; None where they cannot be saved."""
        return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""

    def close(self) -> None:
        """Let go of windows and processes."""


def choose(condition: Tensor, if_true: Tensor, if_false: Tensor) -> Tensor:
    """`torch.where` with a condition `[N]` for tensors `[N, ...]`."""
    return torch.where(condition.reshape(-1, *[1] * (if_true.dim() - 1)), if_true, if_false)
