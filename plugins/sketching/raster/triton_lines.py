"""Gaussian lines of one transparent ink by Triton: a program for each tile goes through all strokes of its canvas.

No lists of tiles are made, so that nothing has to be known before the kernel starts: each tile looks at each stroke's
box and leaves out those that do not reach it. Nothing is written but the picture and, backwards, the gradients of those
that do. The formulas are render.py's. Needs Triton, which torch brings where it has CUDA.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from plugins.sketching.raster.request import DARKEST, MIN_WIDTH, PIXEL, REACH

# Pixels of a tile's side.
SIDE = 16


@triton.jit
def _corner(columns, side: tl.constexpr):  # type: ignore[no-untyped-def]
    """The left and top edge of a program's tile."""
    tile = tl.program_id(0)
    return tile % columns * side, tile // columns * side


@triton.jit
def _is_beside(own, left, top, side: tl.constexpr):  # type: ignore[no-untyped-def]
    """Whether a stroke's box, the first of its numbers, lies outside a tile."""
    beside = (tl.load(own) > left + side) | (tl.load(own + 2) < left)
    return beside | (tl.load(own + 1) > top + side) | (tl.load(own + 3) < top)


@triton.jit
def _seen(points, stroke, piece, x, y, vertices):  # type: ignore[no-untyped-def]
    """Both ends of a piece, where on it each pixel's nearest point lies, and the way from there."""
    first = 2 * (stroke * vertices + piece)
    last = 2 * (stroke * vertices + tl.minimum(piece + 1, vertices - 1))
    ax, ay = tl.load(points + first), tl.load(points + first + 1)
    dx, dy = tl.load(points + last) - ax, tl.load(points + last + 1) - ay
    u, v = x - ax, y - ay
    length = tl.maximum(dx * dx + dy * dy, 1e-12)
    t = tl.minimum(tl.maximum((u * dx + v * dy) / length, 0.0), 1.0)
    return first, last, t, u - t * dx, v - t * dy


@triton.jit
def _nearest(points, stroke, x, y, vertices, pieces):  # type: ignore[no-untyped-def]
    """The squared distance of each pixel from a stroke, and the number of the nearest piece."""
    best = tl.full(x.shape, 1e30, tl.float32)
    which = tl.zeros(x.shape, tl.int32)
    for piece in range(pieces):
        _, _, _, qx, qy = _seen(points, stroke, piece, x, y, vertices)
        square = qx * qx + qy * qy
        which = tl.where(square < best, piece, which)
        best = tl.minimum(square, best)
    return best, which


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    points,
    numbers,
    kept,
    strokes,
    vertices,
    pieces,
    height,
    width,
    columns,
    side: tl.constexpr,
):
    canvas = tl.program_id(1)
    left, top = _corner(columns, side)
    place = tl.arange(0, side * side)
    column, row = left + place % side, top + place // side
    x, y = column.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5
    shade = tl.zeros((side * side,), tl.float32)
    for number in range(strokes):
        stroke = canvas * strokes + number
        own = numbers + 6 * stroke
        if not _is_beside(own, left, top, side):
            blurred, amplitude = tl.load(own + 4), tl.load(own + 5)
            square, _ = _nearest(points, stroke, x, y, vertices, pieces)
            shade += tl.log(1.0 - amplitude * tl.exp(-square / (blurred * blurred)))
    inside = (column < width) & (row < height)
    tl.store(kept + (canvas * height + row) * width + column, tl.exp(shade), mask=inside)


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    points,
    numbers,
    kept,
    gradient,
    by_points,
    by_numbers,
    strokes,
    vertices,
    pieces,
    height,
    width,
    columns,
    side: tl.constexpr,
):
    canvas = tl.program_id(1)
    left, top = _corner(columns, side)
    place = tl.arange(0, side * side)
    column, row = left + place % side, top + place // side
    x, y = column.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5
    inside = (column < width) & (row < height)
    pixel = (canvas * height + row) * width + column
    above = tl.load(kept + pixel, mask=inside, other=0.0)
    above *= tl.load(gradient + pixel, mask=inside, other=0.0)
    for number in range(strokes):
        stroke = canvas * strokes + number
        own = numbers + 6 * stroke
        if not _is_beside(own, left, top, side):
            blurred, amplitude = tl.load(own + 4), tl.load(own + 5)
            square, which = _nearest(points, stroke, x, y, vertices, pieces)
            scaled = square / (blurred * blurred)
            bell = tl.exp(-scaled)
            # By the amplitude; times the amplitude, by the logarithm of the bell.
            by_bell = above / (1.0 - amplitude * bell) * bell
            tl.atomic_add(by_numbers + 2 * stroke + 1, tl.sum(by_bell))
            by_scaled = -amplitude * by_bell
            tl.atomic_add(by_numbers + 2 * stroke, tl.sum(by_scaled * scaled) * -2.0 / blurred)
            by_square = by_scaled / (blurred * blurred)
            for piece in range(pieces):
                mine = tl.where(which == piece, by_square, 0.0)
                if tl.max(tl.abs(mine)) > 0.0:
                    first, last, t, qx, qy = _seen(points, stroke, piece, x, y, vertices)
                    by_x, by_y = -2.0 * mine * qx, -2.0 * mine * qy
                    tl.atomic_add(by_points + first, tl.sum(by_x * (1.0 - t)))
                    tl.atomic_add(by_points + first + 1, tl.sum(by_y * (1.0 - t)))
                    tl.atomic_add(by_points + last, tl.sum(by_x * t))
                    tl.atomic_add(by_points + last + 1, tl.sum(by_y * t))


class Kept(Function):
    """The paper that remains, `[count, height, width]`, of strokes `[count, S, V, 2]`.

    The gradient is summed by atomic additions: from run to run it differs in its last digits.
    """

    @staticmethod
    def forward(
        ctx: Any, points: Tensor, blurred: Tensor, amplitude: Tensor, canvas: tuple[int, int]
    ) -> Tensor:
        points, blurred, amplitude = (t.detach().contiguous() for t in (points, blurred, amplitude))
        reach = (blurred * REACH).unsqueeze(-1)
        boxes = points.amin(-2) - reach, points.amax(-2) + reach
        # Six of a stroke: left, top, right and bottom of its box, its blurred width, its amplitude.
        numbers = torch.cat([*boxes, blurred.unsqueeze(-1), amplitude.unsqueeze(-1)], -1)
        kept = points.new_empty(len(points), *canvas)
        _forward[grid(len(points), canvas)](
            points, numbers, kept, *sizes(points, canvas), side=SIDE
        )
        ctx.save_for_backward(points, numbers, kept)
        return kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        points, numbers, kept = ctx.saved_tensors
        canvas = tuple(kept.shape[1:])
        by_points = torch.zeros_like(points)
        by_numbers = points.new_zeros(*points.shape[:2], 2)
        # d kept / d alpha = -kept / (1 - alpha).
        above = (-gradient).contiguous()
        _backward[grid(len(points), canvas)](
            points, numbers, kept, above, by_points, by_numbers, *sizes(points, canvas), side=SIDE
        )
        return by_points, by_numbers[..., 0], by_numbers[..., 1], None


def grid(count: int, canvas: tuple[int, ...]) -> tuple[int, int]:
    """Programs: the tiles of a canvas, and the canvases."""
    return triton.cdiv(canvas[0], SIDE) * triton.cdiv(canvas[1], SIDE), count


def sizes(points: Tensor, canvas: tuple[int, ...]) -> tuple[int, ...]:
    """Strokes of a canvas, vertices and pieces of a stroke, height, width, and columns of tiles."""
    strokes, vertices = points.shape[1:3]
    return strokes, vertices, max(vertices - 1, 1), *canvas, triton.cdiv(canvas[1], SIDE)


class SoftLines:
    """Called as numba's of the same name."""

    @staticmethod
    def apply(points: Tensor, width: Tensor, opacity: Tensor, canvas: tuple[int, int]) -> Tensor:
        """`[*batch, strokes, vertices, 2]`, width and opacity `[*batch, strokes]` -> ink `[*batch, height, width]`."""
        *batch, strokes, vertices, _ = points.shape
        # Not by clamp, which leaves out the gradient of a width that is exactly the least.
        width = torch.where(width < MIN_WIDTH, MIN_WIDTH, width)
        blurred = (width * width + PIXEL**2).sqrt()
        spread = 2 if vertices == 1 else 1
        amplitude = opacity * (width / blurred) ** spread * DARKEST
        count = math.prod(batch)
        kept: Tensor = Kept.apply(
            points.reshape(count, strokes, vertices, 2),
            blurred.expand(*batch, strokes).reshape(count, strokes),
            amplitude.expand(*batch, strokes).reshape(count, strokes),
            canvas,
        )
        return (1 - kept).reshape(*batch, *canvas)
