"""Ink that lies on other ink is counted exactly, and a cost of it moves strokes apart."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from framework.errors import UserError
from plugins.sketching.raster.request import PEN_WIDTH
from plugins.sketching.sketch import Sketch
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.drawing import Drawing, Strokes
from plugins.sketching.strokes.overlapping import overlap
from plugins.sketching.strokes.primitives import primitive

CROSS = [[[20.0, 50.0], [80.0, 50.0]], [[50.0, 15.0], [50.0, 85.0]]]
APART = [[[20.0, 30.0], [80.0, 30.0]], [[20.0, 60.0], [80.0, 64.0]]]


def drawing(control: list[Any], kind: Any = "line", ink: float = 0.0) -> Drawing:
    style = Style("soft_or", False, False, (1.0, 0.9, 0.8), (ink, ink, ink))
    count = len(control)
    strokes = Strokes(
        torch.tensor(control),
        1.5 * torch.ones(count),
        0.8 * torch.ones(count),
        torch.zeros(count, 3),
    )
    return Drawing(primitive(kind), (100, 110), strokes, style, frozenset())


def covered(one: Drawing, profile: Any = "gaussian", widening: float = 1.0) -> Tensor:
    """The overlap in pixels."""
    picture = one(profile=profile, widening=widening)
    return 100 * 110 * overlap(one, picture, widening, profile)


@pytest.mark.parametrize("ink", [0.0, 0.3])
@pytest.mark.parametrize("profile", ["gaussian", "flat"])
def test_two_lines_that_cross_share_the_product_of_their_inks_across(profile, ink):
    """The integral of a1(y) a2(x) is that of each across: (1.772 s opacity)^2."""
    exact = (PEN_WIDTH * 1.5 * 0.8) ** 2
    one = drawing(CROSS, ink=ink)
    assert covered(one, profile).item() == pytest.approx(exact, rel=0.02)
    # A widened line carries the same ink.
    assert covered(one, widening=2.0).item() == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("profile", ["gaussian", "flat"])
def test_strokes_that_do_not_meet_do_not_overlap(profile):
    assert abs(covered(drawing(APART), profile).item()) < 0.1
    bent = [[[20.0, 20.0], [40.0, 70.0], [60.0, 10.0], [90.0, 80.0]]]
    assert abs(covered(drawing(bent, "cubic"), profile).item()) < 0.5


def test_two_dots_in_one_place_lie_on_one_another():
    """The integral of a^2 for a = 0.8 (s / r)^2 exp(-d^2 / r^2) is a's height squared times pi r^2 / 2."""
    r = math.hypot(1.5, 0.75)
    exact = (0.8 * 1.5**2 / r**2) ** 2 * math.pi * r**2 / 2
    assert covered(drawing([[[50.0, 50.0]]] * 2, "point")).item() == pytest.approx(exact, rel=0.02)


def test_a_cost_of_it_moves_strokes_apart():
    one = drawing([[[20.0, 50.0], [80.0, 50.0]], [[20.0, 51.5], [80.0, 51.5]]])
    covered(one).backward()
    assert one.places.grad is not None
    # Down the gradient the upper line rises and the lower one falls; y runs down.
    assert (one.places.grad[0, :, 1] > 0).all()
    assert (one.places.grad[1, :, 1] < 0).all()


@pytest.mark.parametrize("other", ["coloured", "filled"])
def test_where_ink_is_not_all_there_is_it_is_refused(other):
    options: dict[str, Any] = {other: True}
    said = f"for lines or dots of one ink, without task.{other}"
    with pytest.raises(UserError, match=said):
        Sketch(overlap_cost=0.1, **options)
