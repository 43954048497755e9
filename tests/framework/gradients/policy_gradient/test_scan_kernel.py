"""The kernel's recurrence is that of torch, and so are all advantages that are made by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from framework.gradients.policy_gradient import advantages
from framework.gradients.policy_gradient.advantages import (
    Transitions,
    gae,
    reward_to_go,
    td_lambda,
    upgo,
    vtrace,
)
from tests.kernels import interpreted


def transitions(shape: tuple[int, int]) -> Transitions:
    draw = torch.Generator().manual_seed(0)
    rewards, values, following = torch.randn(3, *shape, generator=draw)
    over, cut, none = (torch.rand(shape, generator=draw) < 0.1 for _ in range(3))
    return Transitions(rewards, values, following, over, cut & ~over, ~none)


@pytest.mark.parametrize("shape", [(7, 130), (1, 1)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_recurrence_is_that_of_torch(shape, kind):
    terms, factors = torch.randn(2, *shape, dtype=kind)
    expected = advantages.backwards(terms, factors)
    with interpreted():
        from framework.gradients.policy_gradient.scan_kernel import backwards

        torch.testing.assert_close(backwards(terms, factors), expected)
        torch.testing.assert_close(
            backwards(terms.T.contiguous().T, factors), expected, msg="another layout"
        )


FUNCTIONS = {
    "gae": lambda steps: [gae(steps, 0.9, 0.8)],
    "td_lambda": lambda steps: [td_lambda(steps, 0.9, 0.8)],
    "reward_to_go": lambda steps: [reward_to_go(steps, 0.9)],
    "vtrace": lambda steps: [*vtrace(steps, steps.values.exp(), 0.9, 0.8, rho_bar=2.0, c_bar=0.7)],
    "upgo": lambda steps: [upgo(steps, 0.9)],
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_each_is_one_launch_and_the_number_of_torch(monkeypatch, launches, name, kind):
    steps = transitions((9, 131))
    named = ("rewards", "values", "next_values")
    steps = replace(steps, **{n: getattr(steps, n).to(kind) for n in named})
    expected = FUNCTIONS[name](steps)
    with interpreted():
        from framework.gradients.policy_gradient import scan_kernel

        monkeypatch.setattr(advantages, "kernels_for", lambda terms: scan_kernel)
        found = FUNCTIONS[name](steps)
    assert launches == [1]
    for own, right in zip(found, expected, strict=True):
        assert own.dtype == kind
        torch.testing.assert_close(own, right, rtol=1e-6, atol=1e-6)


@pytest.fixture
def launches(monkeypatch):
    """How many kernels were launched."""
    counted = [0]
    with interpreted():
        from framework.gradients.policy_gradient import scan_kernel

        def grid(games: int) -> tuple[int]:
            counted[0] += 1
            return (-(-games // scan_kernel.BLOCK),)

        monkeypatch.setattr(scan_kernel, "grid", grid)
    return counted


def test_a_ratio_that_is_no_number_is_not_hidden():
    steps = transitions((3, 2))
    ratios = torch.ones(3, 2)
    ratios[1, 0] = float("nan")
    with interpreted():
        from framework.gradients.policy_gradient import scan_kernel

        targets, found = scan_kernel.vtrace(steps, ratios, 0.9, 1.0, 1.0, 1.0)
    assert found[1, 0].isnan()
    assert targets[1, 0].isnan()
    assert found[:, 1].isfinite().all()
