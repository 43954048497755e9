"""Pictures, films and SVG of a drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from framework import Image, Text, Video
from plugins.sketching.scene.drawing import SceneDrawing
from plugins.sketching.strokes.drawing import Drawing
from plugins.sketching.strokes.plotter import Route, ordered
from plugins.sketching.svg import writing

# Of a film, without the last one's repetitions.
FRAMES = 60
# How often a film repeats its last frame.
HOLD = 20


def pixels(picture: Tensor) -> Tensor:
    """`[C, H, W]` in 0..1 -> `[H, W, 3]` uint8."""
    shades = (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return shades.expand(3, -1, -1).permute(1, 2, 0).contiguous()


def comparison(drawing: Drawing | SceneDrawing, target: Tensor) -> NDArray[Any]:
    """Target `[C, H, W]`, drawing and their difference side by side, `[H, 3 W, 3]` uint8."""
    rendered = drawing(profile="flat")
    target = target.to(rendered)
    parts = [target, rendered, 0.5 + (rendered - target) / 2]
    return torch.cat([pixels(part) for part in parts], 1).numpy()


def drawing_film(drawing: Drawing | SceneDrawing, route: Route | None) -> NDArray[Any]:
    """Frames `[T, H, W, 3]` uint8 of strokes appearing in the order of drawing."""
    present = drawing.present
    order = torch.arange(int(present.sum())) if route is None else torch.as_tensor(route.order)
    rank = torch.empty(len(order), device=present.device)
    rank[order.to(present.device)] = torch.arange(
        len(order), device=present.device, dtype=rank.dtype
    )
    frames = []
    for frame in range(FRAMES + 1):
        gates = (rank < frame / FRAMES * len(order)).float()
        frames.append(pixels(drawing(profile="flat", gates=gates)))
    return torch.stack([*frames, *[frames[-1]] * HOLD]).numpy()


@torch.no_grad()
def enlarged(drawing: Drawing | SceneDrawing, side: int) -> NDArray[Any]:
    """The drawing as a pen would draw it, `[H, W, 3]` uint8, its longer side `side` or the canvas's."""
    scale = max(1.0, side / drawing.side)
    return pixels(drawing(profile="flat", scale=scale)).numpy()


@torch.no_grad()
def svg_of(drawing: Drawing | SceneDrawing) -> str:
    """The drawing as SVG, in the order with little pen-up travel where the order is free."""
    if isinstance(drawing, SceneDrawing):
        return drawing.svg()
    route = route_of(drawing)
    return writing.write(drawing.strokes, drawing.primitive, drawing.canvas, drawing.style, route)


def route_of(drawing: Drawing | SceneDrawing) -> Route | None:
    """The order of drawing; None where it is given by the composition, or there is nothing to draw."""
    if isinstance(drawing, SceneDrawing) or drawing.style.composition == "over":
        return None
    return ordered(drawing.ends()) if bool(drawing.present.any()) else None


def shown(
    drawing: Drawing | SceneDrawing, target: Tensor, frames: Sequence[Tensor], side: int
) -> Iterator[Image | Video | Text]:
    """The drawing, `side` pixels large; beside its target; as SVG; while it was fitted; and being drawn."""
    yield Image("sketch", enlarged(drawing, side))
    yield Image("target_sketch_difference", comparison(drawing, target))
    yield Text("sketch", svg_of(drawing), suffix=".svg")
    if len(frames) > 1:
        yield Video("learning", torch.stack(list(frames)).numpy(), 15)
    if drawing.present.any():
        yield Video("drawing", drawing_film(drawing, route_of(drawing)), 20)
