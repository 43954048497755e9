"""Margins: a face must be closer to its own class than the decision requires, by an angle or by a cosine.

Adding an angle m turns the cosine c = cos t into cos(t + m) = c cos m - sin t sin m, whose derivative with respect to c
is sin(t + m) / sin t. For m = 0.5 that is 49 at t = 0.01, infinite at 0 and -2.5, the wrong sign, at t = 3. The value
is the same for all; the gradient is a choice:

exact              sin(t + m) / sin t, with sin t no smaller than 0.001
clamped            the same, clamped to 0..4
straight_through   1, as where the margin is added in place without being recorded

Scale and margin follow the number of classes n: logits s * cosine can only tell n classes apart with
s >= sqrt(2) ln(n - 1) (Zhang et al. 2019), and margins that suit 85,742 people are too much for a hundred.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from framework import approximate

Gradient = Literal["exact", "clamped", "straight_through"]
SMALLEST_SINE = 1e-3
STEEPEST = 4.0
# People in the data for which scale 64 and margin 0.5 were tuned (Deng et al. 2019).
LARGE_DATA = 85_742


def with_angle(cosine: Tensor, margin: Tensor | float, gradient: Gradient) -> Tensor:
    """cos(t + margin) of cosines, with the chosen gradient.

    A margin that depends on parameters (MagFace's) has its exact derivative: d cos(t + m) / d m = -sin(t + m).
    """
    angle = torch.as_tensor(margin, dtype=cosine.dtype, device=cosine.device)
    if gradient == "straight_through" and not angle.requires_grad:
        return approximate(cosine_of_sum, "straight_through")(cosine, angle)

    def stand_in(cosine: Tensor, angle: Tensor) -> Tensor:
        with torch.no_grad():
            slope, turn = slope_of_sum(cosine, angle, gradient), sine_of_sum(cosine, angle)
        return slope * cosine - turn * angle

    return approximate(cosine_of_sum, stand_in)(cosine, angle)


def cosine_of_sum(cosine: Tensor, angle: Tensor) -> Tensor:
    """cos(t + angle); a cosine that rounding has put beyond 1 counts as 1."""
    within = cosine.clamp(-1, 1)
    return within * angle.cos() - (1 - within**2).sqrt() * angle.sin()


def sine_of_sum(cosine: Tensor, angle: Tensor) -> Tensor:
    """sin(t + angle)."""
    within = cosine.clamp(-1, 1)
    return (1 - within**2).sqrt() * angle.cos() + within * angle.sin()


def slope_of_sum(cosine: Tensor, angle: Tensor, gradient: Gradient) -> Tensor:
    """The chosen substitute for the derivative sin(t + angle) / sin t of `cosine_of_sum`."""
    if gradient == "straight_through":
        return torch.ones_like(cosine)
    sine = (1 - cosine.clamp(-1, 1) ** 2).sqrt()
    slope = sine_of_sum(cosine, angle) / sine.clamp(min=SMALLEST_SINE)
    return slope.clamp(0, STEEPEST) if gradient == "clamped" else slope


def scale_for(people: int) -> float:
    """1.5 times the smallest scale that can separate this many people, but at least 8."""
    return max(8.0, 1.5 * math.sqrt(2) * math.log(max(2, people - 1)))


def margin_for(people: int, large: float = 0.5) -> float:
    """`large` for 85,742 people, for fewer in proportion to the logarithm of their number."""
    return large * math.log(max(2, people)) / math.log(LARGE_DATA)


def margin_scale_at(step: int, steps: int) -> float:
    """The factor of the margin: 0 before step 0, rising linearly to 1 over `steps` steps, then 1."""
    if step < 0:
        return 0.0
    return min(1.0, step / steps) if steps else 1.0
