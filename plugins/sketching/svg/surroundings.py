"""What an element takes over from those around it, and how lengths are read there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from framework.errors import UserError
from plugins.sketching.svg.cascade import Style
from plugins.sketching.svg.geometry import Matrix, Measure, length
from plugins.sketching.svg.picture import Clip


class LeftOut(Exception):
    """An element is not drawn, and why."""


@dataclass(frozen=True)
class Surroundings:
    """What an element takes over from those around it.

    Attributes:
        viewport: width and height in the current coordinates.
        opacity: of all groups, multiplied.
        uses: identifiers of the elements that are being used.
    """

    matrix: Matrix
    viewport: tuple[float, float]
    style: Style
    opacity: float
    clips: tuple[Clip, ...]
    depth: int
    uses: frozenset[str]


def dashes_of(text: str, measure: Measure) -> Sequence[float]:
    """The lengths of dashes and gaps; (): none, or lengths that mean none."""
    if text == "none":
        return ()
    parts = text.replace(",", " ").split()
    found = [measure(part, "both", 0.0) for part in parts]
    if not found or min(found) < 0 or sum(found) <= 0 or not math.isfinite(sum(found)):
        return ()
    return found * 2 if len(found) % 2 else found


def measure_in(around: Surroundings) -> Measure:
    """How lengths are read here: percentages are of the viewport, ems of the font."""
    wide, high = around.viewport
    whole = {"x": wide, "y": high, "both": math.hypot(wide, high) / math.sqrt(2)}
    try:
        font = length(around.style["font-size"], 16.0, 16.0, 16.0)
    except UserError:
        # A word, such as "small".
        font = 16.0
    return lambda text, of, default: length(text, default, whole[of], font)
