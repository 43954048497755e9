"""The three gradients of an angular margin: one value, three slopes, finite everywhere."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plugins.faces.losses.class_losses import AdaFace
from plugins.faces.losses.margins import (
    STEEPEST,
    Gradient,
    margin_for,
    margin_scale_at,
    scale_for,
    with_angle,
)

GRADIENTS: tuple[Gradient, ...] = ("exact", "clamped", "straight_through")
MARGIN = 0.5


def slope(angle: float, gradient: Gradient, margin: float = MARGIN) -> float:
    cosine = torch.tensor(math.cos(angle), dtype=torch.float64, requires_grad=True)
    with_angle(cosine, margin, gradient).backward()
    assert cosine.grad is not None
    return float(cosine.grad)


@given(st.floats(0.0, math.pi), st.floats(0.0, 1.0))
def test_the_value_is_the_cosine_of_the_sum_whatever_the_gradient(angle, margin):
    cosine = torch.tensor([math.cos(angle)], dtype=torch.float64)
    values = [with_angle(cosine, margin, g).item() for g in GRADIENTS]
    assert values[0] == values[1] == values[2]
    assert abs(values[0] - math.cos(angle + margin)) < 1e-7


def test_the_exact_slope_is_that_of_finite_differences_between_0_1_and_pi_less_the_margin():
    for angle in torch.linspace(0.1, math.pi - MARGIN - 0.1, 40).tolist():
        c, h = math.cos(angle), 1e-6
        difference = (math.cos(math.acos(c + h) + MARGIN) - math.cos(math.acos(c - h) + MARGIN)) / (
            2 * h
        )
        assert abs(slope(angle, "exact") - difference) < 1e-4 * (1 + abs(difference))


def test_the_exact_slope_is_49_at_a_hundredth_and_has_the_wrong_sign_at_three():
    assert abs(slope(0.01, "exact") - 48.8) < 0.3
    assert abs(slope(3.0, "exact") + 2.49) < 0.01


def test_the_clamped_slope_is_the_exact_one_within_its_bounds():
    assert slope(0.01, "clamped") == STEEPEST
    assert slope(3.0, "clamped") == 0
    assert slope(1.0, "clamped") == slope(1.0, "exact")


def test_the_straight_through_slope_is_one():
    assert {slope(a, "straight_through") for a in (0.01, 0.3, 1.0, 2.0, 3.0)} == {1.0}


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_value_and_slope_are_finite_at_one_beyond_one_and_minus_one(gradient):
    cosine = torch.tensor([1.0, 1 + 1e-7, -1.0], requires_grad=True)
    value = with_angle(cosine, MARGIN, gradient)
    value.sum().backward()
    assert value.isfinite().all()
    assert cosine.grad is not None
    assert cosine.grad.isfinite().all()


def test_without_a_margin_value_and_slope_are_the_cosines_own():
    cosine = torch.tensor([-0.9, 0.0, 0.7], dtype=torch.float64, requires_grad=True)
    for gradient in GRADIENTS:
        value = with_angle(cosine, 0.0, gradient)
        (slope,) = torch.autograd.grad(value.sum(), cosine)
        assert torch.allclose(value, cosine)
        assert torch.allclose(slope, torch.ones_like(cosine))


def test_a_margin_that_is_learned_is_differentiated_whatever_the_gradient_of_the_cosine():
    for gradient in GRADIENTS:
        margin = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
        with_angle(torch.tensor([0.3], dtype=torch.float64), margin, gradient).sum().backward()
        assert margin.grad is not None
        assert abs(float(margin.grad) + math.sin(math.acos(0.3) + 0.4)) < 1e-12


def test_scale_and_margin_follow_the_number_of_people():
    assert scale_for(1000) >= math.sqrt(2) * math.log(999)
    assert scale_for(85_742) > scale_for(1000) > scale_for(50) >= 8
    assert abs(margin_for(85_742) - 0.5) < 1e-12
    assert margin_for(100) < margin_for(1000) < 0.5


def test_the_margin_rises_over_its_ramp_and_stays():
    assert [margin_scale_at(step, 4) for step in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert [margin_scale_at(step, 0) for step in (-1, 0, 1)] == [0.0, 1.0, 1.0]
    assert margin_scale_at(-1, 4) == 0.0


@pytest.mark.parametrize("z", [-1.0, 1.0])
def test_adafaces_angle_stays_between_0_and_pi(z):
    """Of a long feature nearer than its margin the cosine is 1, not that of the angle beyond, whose slope is wrong."""
    loss = AdaFace(8, 4, margin=0.4, gradient="exact").double().eval()
    length = loss.mean_length + z / loss.concentration * (loss.deviation + 1e-3)
    angles = torch.linspace(0.02, 3.12, 200, dtype=torch.float64)
    cosines = angles.cos().requires_grad_()
    found = loss.margin_cosine(cosines, length.expand(200).double(), 0.4)
    expected = (angles - 0.4 * z).clamp(1e-3, math.pi - 1e-3).cos() - 0.4 * (z + 1)
    assert torch.allclose(found, expected, atol=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), cosines)
    assert (slope >= 0).all()
    within = (angles - 0.4 * z > 1e-3) & (angles - 0.4 * z < math.pi - 1e-3)
    exact = (angles - 0.4 * z).sin() / angles.sin()
    assert torch.allclose(slope[within], exact[within], rtol=1e-4)
    beyond = ~within & (angles.sin() > 0.1)
    assert slope[beyond].max() < 0.02
