"""Pictures and films of a drawing."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from plugins.sketching.scene.drawing import SceneDrawing
from plugins.sketching.strokes.drawing import Drawing
from plugins.sketching.strokes.plotter import Route

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
