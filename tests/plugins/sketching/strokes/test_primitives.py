"""Curves go where their formulas say, within the stated bound, with finite gradients where control points meet."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.sketching.raster.render import render
from plugins.sketching.strokes.primitives import (
    catmull_rom,
    elevated,
    ellipse,
    flatten,
    pieces_needed,
    primitive,
)

NAMES = ["point", "line", "polyline", "quadratic", "cubic", "catmull_rom", "ellipse"]


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 100 * torch.rand(*shape, 2, generator=draw, dtype=torch.float64)


def test_a_quadratic_raised_to_a_cubic_is_the_same_curve():
    control = some(5, 3)
    t = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
    a, b, c = control[:, None].unbind(2)
    exact = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    torch.testing.assert_close(flatten(elevated(control), 8), exact)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), tolerance=st.sampled_from([0.2, 0.5, 1.0]))
def test_no_point_of_a_curve_is_further_from_its_polyline_than_the_tolerance(seed, tolerance):
    cubics = elevated(some(3, 4, seed=seed))
    line = flatten(cubics, pieces_needed(cubics, tolerance))
    fine = flatten(cubics, 1500)
    start, end = line[:, None, :-1], line[:, None, 1:]
    way = end - start
    t = ((fine[:, :, None] - start) * way).sum(-1) / way.square().sum(-1).clamp(min=1e-12)
    nearest = start + t.clamp(0, 1)[..., None] * way
    distance = (fine[:, :, None] - nearest).norm(dim=-1).amin(2)
    assert distance.max() <= tolerance


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_catmull_rom_curves_pass_smoothly_through_their_points(alpha, closed):
    control = some(4, 6)
    cubics = catmull_rom(control, alpha=alpha, closed=closed)
    torch.testing.assert_close(cubics[:, :5, 0], control[:, :5])
    ends, starts = cubics[:, :-1, 3] - cubics[:, :-1, 2], cubics[:, 1:, 1] - cubics[:, 1:, 0]
    turn = torch.nn.functional.cosine_similarity(ends, starts, dim=-1)
    torch.testing.assert_close(turn, torch.ones_like(turn))
    if closed:
        torch.testing.assert_close(cubics[:, -1, 3], control[:, 0])


def test_a_uniform_catmull_rom_curve_has_the_known_tangents():
    control = some(1, 4)
    cubics = catmull_rom(control, alpha=0.0)
    torch.testing.assert_close(cubics[:, 1, 1], control[:, 1] + (control[:, 2] - control[:, 0]) / 6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("knots", ["uniform", "centripetal", "chordal"])
def test_coincident_control_points_give_finite_gradients(name, knots):
    kind = primitive(name, controls=4, knots=knots)
    control = torch.full((3, kind.controls, 2), 12.5)
    control[1, : kind.controls // 2] += 3.0
    control[2] = torch.arange(kind.controls)[:, None] * 1e-7 + 5
    control.requires_grad_()
    picture = render(kind.vertices(control), 1.0, 40)
    (gradient,) = torch.autograd.grad(picture.square().sum(), control)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_curves_agree_with_difference_quotients(name):
    kind = primitive(name, controls=4)
    control = some(2, kind.controls).requires_grad_()
    assert torch.autograd.gradcheck(kind.vertices, control)


def test_an_ellipse_is_a_circle_where_its_radii_are_equal():
    centre = torch.tensor([40.0, 30.0], dtype=torch.float64)
    control = torch.stack(
        [centre, centre + torch.tensor([12.0, 0]), centre + torch.tensor([0, 12.0])]
    )
    radii = (flatten(ellipse(control), 50) - centre).norm(dim=-1)
    assert (radii / 12 - 1).abs().max() < 3e-4


def test_a_circle_is_round_on_a_wide_canvas():
    kind = primitive("ellipse")
    control = torch.tensor([[[50.0, 25.0], [65.0, 25.0], [50.0, 40.0]]])
    disc = render(kind.vertices(control), 0.7, (50, 100), filled=True)
    assert abs(float(disc.sum()) / (math.pi * 15**2) - 1) < 0.01
    across, down = disc[25].sum(), disc[:, 50].sum()
    assert abs(float(across - down)) < 0.05


def test_a_line_needs_one_piece_and_a_bent_curve_more():
    assert primitive("line").vertices(torch.rand(3, 2, 2) * 100).shape == (3, 2, 2)
    bent = torch.tensor([[[0.0, 0.0], [0.0, 90.0], [90.0, 90.0], [90.0, 0.0]]])
    assert primitive("cubic").vertices(bent).shape[1] > 10
