"""The rewards that are learned from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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
