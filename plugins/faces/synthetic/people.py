"""Synthetic people: traits, the same in all pictures of a person, and circumstances, which differ between pictures.

Identity i of a seed is 39 numbers drawn from the stream (seed, "person", i), so that disjoint
sets of numbers i are disjoint sets of people. A picture's circumstances come from (seed, "circumstances", i, picture).
Lengths are in half heights of a head, angles in radians, colours 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from framework.randomness import generator

# Uniform between the two numbers.
TRAITS: dict[str, tuple[float, float]] = {
    "head_width": (0.66, 0.84),
    "head_depth": (0.78, 0.98),
    # How much narrower the chin is than the temples.
    "jaw": (0.05, 0.42),
    # 1: tapers evenly; more: square above a sudden chin.
    "jaw_shape": (1.1, 2.6),
    # From the middle to each eye.
    "eye_distance": (0.25, 0.36),
    "eye_height": (0.02, 0.15),
    "eye_width": (0.12, 0.185),
    # Height by width.
    "eye_opening": (0.36, 0.66),
    "eye_tilt": (-0.22, 0.28),
    # Brown, hazel, green, blue.
    "iris_hue": (0.0, 1.0),
    "iris_lightness": (0.5, 1.2),
    # Above the eye.
    "brow_height": (0.13, 0.23),
    "brow_thickness": (0.018, 0.06),
    "brow_tilt": (-0.3, 0.25),
    "brow_arch": (0.0, 0.9),
    # Down from between the eyes.
    "nose_length": (0.26, 0.46),
    "nose_width": (0.075, 0.16),
    "nose_height": (0.12, 0.30),
    "mouth_height": (-0.60, -0.45),
    "mouth_width": (0.19, 0.32),
    "upper_lip": (0.02, 0.06),
    "lower_lip": (0.03, 0.08),
    "lip_red": (0.1, 0.75),
    "skin_lightness": (0.0, 1.0),
    # Pink to olive.
    "skin_hue": (0.0, 1.0),
    "blush": (0.0, 0.5),
    "hair_lightness": (0.0, 1.0),
    "hair_red": (0.0, 1.0),
    # Below 0: not grey.
    "hair_grey": (-1.5, 0.9),
    "hairline": (0.32, 0.78),
    "widows_peak": (-0.5, 1.2),
    # The hairline's slope.
    "parting": (-0.6, 0.6),
    "hair_volume": (1.03, 1.25),
    # Where it ends; below -0.1 it is seen beside the cheeks.
    "hair_length": (-1.5, 0.6),
    # Below 0: none.
    "beard": (-1.0, 0.9),
    "ear_size": (0.08, 0.18),
    "mole_x": (-0.5, 0.5),
    "mole_y": (-0.65, 0.4),
    # Below 0: none.
    "mole_size": (-0.04, 0.045),
}

# Normal: mean and standard deviation.
NORMAL: dict[str, tuple[float, float]] = {
    "yaw": (0.0, 0.30),
    "pitch": (0.0, 0.14),
    "roll": (0.0, 0.12),
    "smile": (0.15, 0.5),
    "gaze_x": (0.0, 0.3),
    "gaze_y": (0.0, 0.2),
    "brow_raise": (0.0, 0.02),
    "light_x": (0.0, 0.6),
    "light_y": (0.45, 0.35),
    # Logarithms of gains.
    "brightness": (0.0, 0.16),
    "gamma": (0.0, 0.14),
    "warmth": (0.0, 0.10),
    "tint": (0.0, 0.05),
}

# Uniform between the two numbers.
UNIFORM: dict[str, tuple[float, float]] = {
    # Below 0: shut.
    "mouth_open": (-0.12, 0.09),
    # How far shut.
    "lids": (-2.2, 0.7),
    "squint": (0.8, 1.15),
    "ambient": (0.30, 0.72),
    # Worn above GLASSES, dark above SUNGLASSES.
    "glasses": (0.0, 1.0),
    "glasses_size": (0.17, 0.24),
    "glasses_shade": (0.0, 0.5),
    # Something in front above OCCLUDED.
    "occlusion": (0.0, 1.0),
    "occluder_x": (-1.0, 1.0),
    "occluder_y": (-1.2, 0.9),
    "occluder_size": (0.25, 0.5),
    "occluder_angle": (-3.1416, 3.1416),
    # Worn above HATS.
    "hat": (0.0, 1.0),
    "noise": (0.0, 0.035),
    "stubble": (0.0, 0.2),
    **{
        f"{thing}_{colour}": (0.05, 0.95)
        for thing in ("background", "behind", "clothes", "occluder")
        for colour in ("red", "green", "blue")
    },
    "behind_angle": (-3.1416, 3.1416),
    "behind_offset": (-0.9, 0.9),
}

GLASSES, SUNGLASSES, OCCLUDED, HATS = 0.78, 0.98, 0.86, 0.94

# By name, `[N]` each.
Numbers = Mapping[str, Tensor]


def traits(seed: int, people: Sequence[int]) -> dict[str, Tensor]:
    """The traits of these people by name, `[N]` each."""
    drawn = [torch.rand(len(TRAITS), generator=generator(seed, "person", i)) for i in people]
    return between(torch.stack(drawn), TRAITS)


def circumstances(seed: int, people: Sequence[int], pictures: Sequence[int]) -> dict[str, Tensor]:
    """The circumstances of picture `pictures[n]` of `people[n]` by name, `[N]` each."""
    normal, uniform = [], []
    for person, picture in zip(people, pictures, strict=True):
        stream = generator(seed, "circumstances", person, picture)
        normal.append(torch.randn(len(NORMAL), generator=stream))
        uniform.append(torch.rand(len(UNIFORM), generator=stream))
    values = between(torch.stack(uniform), UNIFORM)
    for (name, (mean, deviation)), drawn in zip(NORMAL.items(), torch.stack(normal).T, strict=True):
        values[name] = mean + deviation * drawn.clamp(-2.2, 2.2)
    return values


def between(shares: Tensor, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Tensor]:
    """Points of each range, at `shares` `[N, len(ranges)]` in 0..1 of the way."""
    return {
        name: low + (high - low) * share
        for (name, (low, high)), share in zip(ranges.items(), shares.T, strict=True)
    }
