"""The kernel's recurrence is that of torch, and so are all advantages that are made by it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from framework.gradients.policy_gradient import advantages
from framework.gradients.policy_gradient.advantages import Transitions, gae, upgo, vtrace
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


def test_all_advantages_are_made_by_it(monkeypatch):
    steps = transitions((9, 6))
    ratios = steps.values.exp()
    made = [
        lambda: gae(steps, 0.9, 0.8),
        lambda: vtrace(steps, ratios, 0.9)[1],
        lambda: upgo(steps, 0.9),
    ]
    expected = [make() for make in made]
    with interpreted():
        from framework.gradients.policy_gradient import scan_kernel

        calls: list[Tensor] = []

        def counted(terms: Tensor, factors: Tensor) -> Tensor:
            calls.append(terms)
            return scan_kernel.backwards(terms, factors)

        monkeypatch.setattr(advantages, "backwards", counted)
        for make, right in zip(made, expected, strict=True):
            torch.testing.assert_close(make(), right)
    assert len(calls) == 3
