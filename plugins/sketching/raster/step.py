"""A step of fitting plain lines by squared error: the loss and its gradients in one call, without a graph."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.errors import ProgramError
from plugins.sketching.raster import torch_kernel
from plugins.sketching.raster.lines import Lines
from plugins.sketching.raster.render import (
    Backend,
    broadcast_inputs,
    check_finite,
    check_names,
    check_ranges,
    choose_kernel,
    render,
)


@dataclass(frozen=True)
class Step:
    """A loss `[]`, the ink that it is of, and its gradients, of the inputs' shapes `[*batch, strokes, ...]`."""

    loss: Tensor
    ink: Tensor
    points: Tensor
    width: Tensor
    opacity: Tensor


def render_and_loss(
    points: Tensor,
    width: Tensor | float,
    target: Tensor,
    *,
    opacity: Tensor | float | None = None,
    backend: Backend = "auto",
) -> Step:
    """The mean squared difference of lines' ink from a target, and its gradients.

    The same numbers as of `((render(points, width, size, opacity=opacity) - target) ** 2).mean().backward()`, for
    about half of its time where the lines are few: autograd's bookkeeping is left out.

    Args:
        points: `[*batch, strokes, vertices, 2]`, x then y in pixels.
        width: s in pixels, a number or `[*batch, strokes]`.
        target: the ink that is wanted, `[*batch, height, width]`.
        opacity: a number or `[*batch, strokes]`; None: 1.
        backend: as `render` has it.

    Raises:
        ProgramError: as `render`, or a target of another shape.
    """
    canvas = (int(target.shape[-2]), int(target.shape[-1]))
    lines = Lines.of(points, False, "nonzero")
    check_names(canvas, "soft_or", "gaussian")
    check_finite(lines)
    given_width, given_opacity, _, lines = broadcast_inputs(lines, width, opacity, None)
    check_ranges(given_width, given_opacity, None, None)
    expected = (*lines.shape[:-1], *canvas)
    if tuple(target.shape) != expected:
        raise ProgramError(f"target {list(target.shape)}: expected {list(expected)}")
    parts = [part.detach() for part in (lines.points, given_width, given_opacity)]
    kernel = choose_kernel(backend, lines.points)
    bent = kernel is torch_kernel and lines.points.shape[-2] > 2
    if bent or not hasattr(kernel, "Drawn") or not math.prod(lines.shape):
        leaves = [part.clone().requires_grad_() for part in parts]
        with torch.enable_grad():
            ink = render(leaves[0], leaves[1], canvas, opacity=leaves[2], backend=backend)
            loss = (ink - target).square().mean()
        found = torch.autograd.grad(loss, leaves, materialize_grads=True)
        return Step(loss.detach(), ink.detach(), *found)
    with torch.no_grad():
        drawn = kernel.Drawn.of(*parts, canvas)
        difference = drawn.ink - target
        by_ink = difference * (2 / difference.numel())
        return Step((difference * difference).mean(), drawn.ink, *drawn.gradients(by_ink))
