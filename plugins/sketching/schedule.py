"""How a drawing is rendered while it is fitted: strokes wide and faint at first, with the flat pen at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Schedule:
    """Shares are of the steps.

    Attributes:
        widening: how many times wider strokes start.
        widening_until: the share after which they have their own width.
        flat_from: the share after which they are rendered with an SVG's flat pen.
    """

    widening: float
    widening_until: float
    flat_from: float

    def render_options(self, done: float) -> dict[str, Any]:
        """How the drawing is rendered when the share `done` of the steps is taken."""
        if done >= self.flat_from:
            return {"profile": "flat", "widening": 1.0}
        left = max(0.0, 1 - done / self.widening_until) if self.widening_until else 0.0
        return {"profile": "gaussian", "widening": self.widening**left}
