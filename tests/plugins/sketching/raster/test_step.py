"""A step without a graph has the loss and the gradients of one with it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch

from framework.errors import ProgramError
from plugins.sketching.raster.render import render
from plugins.sketching.raster.step import render_and_loss

BACKENDS: list[Any] = ["torch", *(["numba"] if find_spec("numba") else [])]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(7, 2), (2, 5, 3), (1, 1), (0, 2)], ids=str)
def test_a_step_is_that_of_autograd(backend, shape):
    draw = torch.Generator().manual_seed(0)
    points = 40 * torch.rand(*shape, 2, generator=draw)
    width, opacity = (0.3 + 0.7 * torch.rand(shape[:-1], generator=draw) for _ in range(2))
    target = torch.rand(*shape[:-2], 36, 44, generator=draw)
    leaves = [part.clone().requires_grad_() for part in (points, width, opacity)]
    ink = render(leaves[0], leaves[1], (36, 44), opacity=leaves[2], backend=backend)
    loss = ((ink - target) ** 2).mean()
    found = torch.autograd.grad(loss, leaves, materialize_grads=True)
    step = render_and_loss(points, width, target, opacity=opacity, backend=backend)
    torch.testing.assert_close(step.loss, loss.detach())
    assert torch.equal(step.ink, ink.detach())
    for ours, theirs in zip((step.points, step.width, step.opacity), found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-9)


def test_what_is_no_picture_of_these_lines_is_refused():
    with pytest.raises(ProgramError, match=r"target \[3, 40, 40\]: expected \[40, 40\]"):
        render_and_loss(torch.zeros(2, 2, 2), 1.0, torch.zeros(3, 40, 40))
    with pytest.raises(ProgramError, match="width has the value -1"):
        render_and_loss(torch.zeros(2, 2, 2), -1.0, torch.zeros(40, 40))
