"""What is learned from, as it differs from what the environment says and the log reports."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """How what is learned from differs from the environment's own, which is what is reported.

    Attributes:
        scale: a factor of the rewards.
        clip: to -1 .. 1, before any scaling.
        terminal_on_life_loss: a lost life ends an episode.
    """

    scale: float
    clip: bool
    terminal_on_life_loss: bool

    def clipped(self, rewards: Tensor) -> Tensor:
        return rewards.clamp(-1, 1) if self.clip else rewards

    def ends(self, terminated: Tensor, life_lost: Tensor | None) -> Tensor:
        """Which steps end an episode for learning."""
        if self.terminal_on_life_loss and life_lost is not None:
            return terminated | life_lost
        return terminated
