"""How much a face's picture says: 0 for a blank one, 1 for one that is large, contrasty, well lit and sharp.

It is the least of four parts, each 0 to 1. A picture without content would match every other such picture, so faces
below `LEAST` are not enrolled. That what is shown is a face at all is the detector's business, not this one's.
"""

from __future__ import annotations

import numpy
from PIL import Image as Pillow
from torch import Tensor

# Of a face that is enrolled.
LEAST = 0.25
# What counts as full: pixels of the shorter side, standard deviation of grey levels, mean step between neighbours in
# standard deviations at `SIDE` pixels.
FULL_SIDE, FULL_CONTRAST, FULL_SHARPNESS = 32.0, 30.0, 0.12
# Grey levels at which a pixel is clipped, and the part of clipped pixels at which nothing is left.
BLACK, WHITE, ALL_CLIPPED = 2, 253, 0.9
# At which a face is looked at.
SIDE = 48


def quality_of(photograph: Pillow.Image, box: Tensor) -> float:
    """The quality of the face in a box `[4]` xyxy of an RGB photograph."""
    left, top, right, bottom = box.tolist()
    width, height = photograph.size
    corners = (
        max(0, int(left)),
        max(0, int(top)),
        min(width, round(right)),
        min(height, round(bottom)),
    )
    if corners[2] - corners[0] < 2 or corners[3] - corners[1] < 2:
        return 0.0
    size = min(1.0, min(right - left, bottom - top) / FULL_SIDE)
    face = photograph.crop(corners).convert("L").resize((SIDE, SIDE), Pillow.Resampling.BILINEAR)
    grey = numpy.asarray(face, numpy.float64)
    deviation = float(grey.std())
    clipped = float(((grey <= BLACK) | (grey >= WHITE)).mean())
    steps = (
        float(
            numpy.abs(numpy.diff(grey, axis=0)).mean() + numpy.abs(numpy.diff(grey, axis=1)).mean()
        )
        / 2
    )
    sharpness = min(1.0, steps / (deviation + 1e-9) / FULL_SHARPNESS) if deviation > 1 else 0.0
    light = max(0.0, 1 - clipped / ALL_CLIPPED)
    return float(min(size, deviation / FULL_CONTRAST, sharpness, light, 1.0))
