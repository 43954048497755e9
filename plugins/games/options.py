"""Options of the task in the groups that are used together: the environment, and the rewards that are learned from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.games.environments.games import Games
from plugins.games.environments.making import make_games


@dataclass(frozen=True, kw_only=True)
class EnvironmentOptions:
    """Which environment is played, and how.

    Attributes:
        name: a registered name such as `cart_pole`, or gymnasium's such as `CartPole-v1` or `ALE/Pong-v5`.
        repeat_action_probability: how likely a frame repeats the last action instead (Atari).
        processes: each game that is trained on has a process of its own (gymnasium).
        window: show the agent in a window in place of a video (gymnasium).
    """

    name: str
    repeat_action_probability: float
    processes: bool
    window: bool

    def make(self, count: int, device: torch.device | str, *, processes: bool = False) -> Games:
        """`count` games; see `make_games`.

        Args:
            processes: they may have processes, if the option says so.
        """
        return make_games(
            self.name,
            count,
            device,
            processes=self.processes and processes,
            repeat_action_probability=self.repeat_action_probability,
        )

    def make_rendered(self, device: torch.device | str) -> Games:
        """One game to be filmed, or to be watched in its window."""
        return make_games(
            self.name,
            1,
            device,
            rendered=not self.window,
            window=self.window,
            repeat_action_probability=self.repeat_action_probability,
        )


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """How the rewards that are learned from differ from the environment's, which are the ones reported.

    Attributes:
        scale: a factor.
        clip: to -1 .. 1, before any scaling.
    """

    scale: float
    clip: bool

    def clipped(self, rewards: Tensor) -> Tensor:
        return rewards.clamp(-1, 1) if self.clip else rewards
