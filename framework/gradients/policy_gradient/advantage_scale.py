"""Advantages of about 1 that are never blown up: what is as good as equal stays small.

    (A - mean A) / max(deviation of A, root of the mean variance of all batches so far)

Over a batch alone, (A - mean A) / deviation, noise is all that is left once every return is alike, and is scaled to
variance 1 like anything else: a policy that has solved its game is driven off its solution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from framework.config.types import CountOrZero, NonNegative
from framework.gradients.policy_gradient.trajectory import EvaluatedTrajectory
from framework.saved_state import check_saved


class AdvantageScale:
    """Standardises advantages by the larger of the batch's deviation and the usual one.

    Attributes:
        batches: seen so far.
        variance: the mean of their variances.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.variance: Tensor | float = 0.0

    @torch.no_grad()
    def __call__(self, trajectory: EvaluatedTrajectory, advantages: Tensor) -> Tensor:
        """Advantages `[T, N]` with mean 0 and a variance of at most 1 over the steps of the whole batch."""
        mean, variance = trajectory.moments(advantages)
        self.batches += 1
        self.variance = self.variance + (variance - self.variance) / self.batches
        deviation = torch.maximum(variance, self.variance).sqrt()
        return (advantages - mean) / (deviation + 1e-8)

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches, "variance": float(self.variance)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_saved("the advantages' scale", state, batches=CountOrZero, variance=NonNegative)
        self.batches, self.variance = state["batches"], state["variance"]
