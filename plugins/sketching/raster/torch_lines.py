"""Gaussian lines of one transparent ink in plain torch, on any device: soft_lines.py for straight strokes and dots.

A pixel's nearest point, the vector from it and the ink are computed once, in few passes over one buffer, and kept for
the gradients where all groups fit into one chunk; else they are computed again. With P the gradient of a pixel's
log-ink, all that strokes' gradients need are sums of P q, P t q and P |q|^2 over pixels: one product of matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from plugins.sketching.raster.chunks import CHUNK
from plugins.sketching.raster.request import DARKEST, MIN_WIDTH, PIXEL, REACH, choose_layout
from plugins.sketching.raster.soft_function import differentiable
from plugins.sketching.raster.tiles import Layout

# The least amplitude, so that no ink is divided by nothing.
FAINTEST = 1e-12


@dataclass(frozen=True)
class Scene:
    """N lines.

    Attributes:
        ends: `[N, 4]`.
        width, blurred, amplitude: `[N]`; `blurred` is the width r with the pixel's extent.
        free: `[N]`, whether a width is its own and not the least one.
        power: in how many directions a stroke spreads its ink, 1 or 2.
    """

    ends: Tensor
    width: Tensor
    blurred: Tensor
    amplitude: Tensor
    largest: Tensor
    free: Tensor
    power: int

    @classmethod
    def of(cls, points: Tensor, width: Tensor, opacity: Tensor) -> Scene:
        vertices = points.shape[-2]
        ends = points.reshape(-1, 2 * vertices)
        given = width.reshape(-1)
        wide = given.clamp(min=MIN_WIDTH)
        blurred = (wide * wide + PIXEL**2).sqrt()
        power = 3 - vertices
        largest = (wide / blurred) ** power * DARKEST
        amplitude = (opacity.reshape(-1) * largest).clamp(min=FAINTEST)
        if vertices == 1:
            ends = torch.cat([ends, ends], 1)
        return cls(ends, wide, blurred, amplitude, largest, given >= MIN_WIDTH, power)


@dataclass(frozen=True)
class Groups:
    """Which lines are seen in which tiles, `[G]` each; `left` and `top` are a tile's corner in pixels."""

    stroke: Tensor
    tile: Tensor
    left: Tensor
    top: Tensor


@dataclass(frozen=True)
class Seen:
    """What the pixels of G groups see of their lines.

    Attributes:
        t: `[G, pixels]`, where on the line the nearest point is.
        q: `[G, 3, pixels]`, x and y of the vector from there, and its square.
        alpha: `[G, pixels]`, the ink.
    """

    t: Tensor
    q: Tensor
    alpha: Tensor


@dataclass(frozen=True)
class Drawn:
    """A picture, and what its gradients are computed from.

    Attributes:
        ink: `[*batch, height, width]`.
        kept: `[tiles, pixels]`, the paper that remains.
        seen: of all groups, where they are one chunk.
        shapes: of points and of width.
    """

    ink: Tensor
    scene: Scene
    layout: Layout
    groups: Groups
    kept: Tensor
    shapes: tuple[torch.Size, torch.Size]
    seen: list[Seen] = field(default_factory=list)

    @classmethod
    @torch.no_grad()
    def of(cls, points: Tensor, width: Tensor, opacity: Tensor, canvas: tuple[int, int]) -> Drawn:
        *batch, strokes, _, _ = points.shape
        layout = choose_layout(math.prod(batch), canvas)
        scene = Scene.of(points.detach(), width.detach(), opacity.detach())
        groups = grouped(scene, layout, strokes)
        depth = scene.ends.new_zeros(layout.tiles, layout.pixels)
        kept: list[Seen] = []
        for part in (parts := portions(groups, layout)):
            seen = look(scene, layout, part)
            depth.index_add_(0, part.tile, (1 - seen.alpha).log_())
            kept = [seen] if len(parts) == 1 else []
            # Not beside the next part's.
            del seen
        paper = depth.exp_()
        ink = 1 - layout.assemble(paper[:, None])
        shapes = points.shape, width.shape
        return cls(ink.reshape(*batch, *canvas), scene, layout, groups, paper, shapes, kept)

    @torch.no_grad()
    def gradients(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of points, width and opacity, given that of the ink."""
        scene, layout = self.scene, self.layout
        above = layout.cut(gradient.reshape(layout.count, 1, layout.height, layout.width))
        above = above[:, 0] * self.kept
        sums = scene.ends.new_zeros(len(scene.width), 7)
        for part in portions(self.groups, layout):
            seen = self.seen[0] if self.seen else look(scene, layout, part)
            pulled = seen.q.new_empty(len(seen.alpha), 2, layout.pixels)
            torch.div(seen.alpha, 1 - seen.alpha, out=pulled[:, 0])
            pulled[:, 0] *= above[part.tile]
            torch.mul(pulled[:, 0], seen.t, out=pulled[:, 1])
            found = torch.bmm(pulled, seen.q.transpose(1, 2)).flatten(1)
            total = pulled[:, 0].sum(1, keepdim=True)
            sums.index_add_(0, part.stroke, torch.cat([found, total], 1))
            del seen, pulled
        scale = (2 / scene.blurred**2)[:, None]
        last = scale * sums[:, 3:5]
        points = torch.cat([scale * sums[:, :2] - last, last], 1)
        if self.shapes[0][-2] == 1:
            points = points[:, :2] + points[:, 2:]
        by_amplitude = sums[:, 6] / scene.amplitude
        by_blurred = 2 * sums[:, 2] / scene.blurred**3
        share = scene.width / scene.blurred
        steep = scene.power * (1 / scene.width - scene.width / scene.blurred**2)
        width = by_blurred * share + sums[:, 6] * steep
        shape, strokes = self.shapes
        return (
            points.reshape(shape),
            (width * scene.free).reshape(strokes),
            (by_amplitude * scene.largest).reshape(strokes),
        )


SoftLines = differentiable(Drawn)


def grouped(scene: Scene, layout: Layout, strokes: int) -> Groups:
    """Which lines reach which tiles, `strokes` of them on each canvas; in no order, as inks have none."""
    ends, (height, width) = scene.ends, (layout.tile_height, layout.tile_width)
    reach = (scene.blurred * REACH)[:, None]
    side = ends.new_tensor([width, height])
    last = ends.new_tensor([layout.columns - 1, layout.rows - 1])
    low, high = torch.minimum(ends[:, :2], ends[:, 2:]), torch.maximum(ends[:, :2], ends[:, 2:])
    begin = ((low - reach) / side).floor_().clamp_(min=0)
    span = (torch.minimum(((high + reach) / side).floor_(), last) - begin + 1).clamp_(min=0)
    across = span[:, 0]
    counts = (across * span[:, 1]).long()
    stroke = torch.repeat_interleave(counts)
    # The first of each line's tiles.
    offset = counts.cumsum(0) - counts
    place = (torch.arange(len(stroke), device=ends.device) - offset[stroke]).to(ends)
    wide = across[stroke]
    # Of whole numbers as floats: exact, and faster than division of integers.
    row = ((place + 0.5) / wide).floor_()
    column, row = place - row * wide + begin[stroke, 0], row + begin[stroke, 1]
    ax, ay, bx, by = ends.unbind(1)
    dx, dy = bx - ax, by - ay
    far = reach[:, 0] + math.hypot(height - 1, width - 1) / 2
    inverse = 1 / (dx * dx + dy * dy).clamp(min=1e-12)
    each = torch.stack([ax, ay, dx, dy, inverse, far * far], 1)[stroke]
    ax, ay, dx, dy, inverse, far = each.unbind(1)
    u, v = (column + 0.5) * width - ax, (row + 0.5) * height - ay
    t = ((u * dx + v * dy) * inverse).clamp_(0, 1)
    near = ((u - t * dx).square_() + (v - t * dy).square_() <= far).nonzero()[:, 0]
    stroke, column, row = stroke[near], column[near], row[near]
    tile = row.long() * layout.columns + column.long()
    if layout.count > 1:
        tile += stroke // strokes * (layout.rows * layout.columns)
    return Groups(stroke, tile, column * width, row * height)


def portions(groups: Groups, layout: Layout) -> list[Groups]:
    """The groups, a chunk at a time."""
    most = max(1, CHUNK // layout.pixels)
    parts = (part.split(most) for part in (groups.stroke, groups.tile, groups.left, groups.top))
    return [Groups(*part) for part in zip(*parts, strict=True)]


def look(scene: Scene, layout: Layout, groups: Groups) -> Seen:
    """What the pixels of some groups see of their lines."""
    stroke = groups.stroke
    ax, ay, bx, by = scene.ends[stroke].unbind(1)
    dx, dy = (bx - ax)[:, None, None], (by - ay)[:, None, None]
    length = dx * dx + dy * dy
    inverse = torch.where(length > 1e-12, 1 / length.clamp(min=1e-12), 0.0)
    like = {"dtype": ax.dtype, "device": ax.device}
    x = torch.arange(layout.tile_width, **like) + 0.5  # type: ignore[call-overload]
    y = torch.arange(layout.tile_height, **like) + 0.5  # type: ignore[call-overload]
    u = ((groups.left - ax)[:, None] + x)[:, None, :]
    v = ((groups.top - ay)[:, None] + y)[:, :, None]
    t = (u * (dx * inverse) + v * (dy * inverse)).clamp_(0, 1)
    q = t.new_empty(len(stroke), 3, layout.tile_height, layout.tile_width)
    torch.sub(u, t * dx, out=q[:, 0])
    torch.sub(v, t * dy, out=q[:, 1])
    torch.mul(q[:, 0], q[:, 0], out=q[:, 2]).addcmul_(q[:, 1], q[:, 1])
    q = q.flatten(2)
    alpha = (q[:, 2] * (-1 / scene.blurred[stroke] ** 2)[:, None]).exp_()
    return Seen(t.flatten(1), q, alpha.mul_(scene.amplitude[stroke, None]))
