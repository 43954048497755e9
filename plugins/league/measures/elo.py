"""Elo ratings from a table of results: the most likely strengths, and how sure they are.

A player of rating R scores 1 / (1 + 10^((R' - R) / 400)) against one of rating R' (Elo 1978; Bradley and Terry 1952).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Points of one unit of log-odds.
POINTS = 400 / math.log(10)
# Matches that each player is thought to have drawn with the mean of all, so that ratings stay finite.
PRIOR = 1.0
NEWTON_STEPS = 50


@dataclass(frozen=True)
class Ratings:
    """Ratings `[P]` about a mean of 0, and their standard errors `[P]`, in points."""

    points: Tensor
    errors: Tensor


def ratings(matches: Tensor, scores: Tensor) -> Ratings:
    """Fit ratings by the largest posterior probability.

    Args:
        matches: `[P, P]`, how many were played between two players; symmetric.
        scores: `[P, P]`, the sum of the row's scores against the column; a draw counts one half.
    """
    matches, scores = matches.double(), scores.double()
    count = len(matches)
    strength = torch.zeros(count, dtype=torch.float64)
    for _ in range(NEWTON_STEPS):
        chance = (strength.unsqueeze(1) - strength).sigmoid()
        against_mean = strength.sigmoid()
        slope = (scores - matches * chance).sum(1) + PRIOR * (0.5 - against_mean)
        curvature = information(matches, chance, against_mean)
        step = torch.linalg.solve(curvature, slope)
        strength = strength + step.clamp(-1, 1)
        if float(step.abs().max()) < 1e-10:
            break
    chance = (strength.unsqueeze(1) - strength).sigmoid()
    covariance = torch.linalg.inv(information(matches, chance, strength.sigmoid()))
    # About the mean of all.
    centred = torch.eye(count, dtype=torch.float64) - 1 / count
    covariance = centred @ covariance @ centred.T
    return Ratings(
        (POINTS * (strength - strength.mean())).float(),
        (POINTS * covariance.diagonal().clamp(min=0).sqrt()).float(),
    )


def information(matches: Tensor, chance: Tensor, against_mean: Tensor) -> Tensor:
    """The negative second derivatives of the log-posterior, `[P, P]`."""
    weights = matches * chance * (1 - chance)
    own = weights.sum(1) + PRIOR * against_mean * (1 - against_mean)
    return torch.diag(own) - weights
