"""Drawings: forward and backward of the rasteriser."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from experiments.benchmarks.gpu.figures import Figure, Machine
from framework import waiting
from plugins.sketching.raster.render import render
from plugins.sketching.strokes.primitives import flatten


def raster(machine: Machine) -> Iterator[Figure]:
    """Cubic curves of eight pieces, each a fifth of the canvas long, in black ink."""
    for side in machine.sizes.pixels:
        for count in machine.sizes.strokes:
            points = curves(count, side).to(machine.device).requires_grad_()
            width = torch.full((count,), 1.0, device=machine.device)

            def both(points: Tensor = points, width: Tensor = width, side: int = side) -> None:
                points.grad = None
                # As between two logs of a training.
                with waiting.deferred(machine.device):
                    render(points, width, side).square().mean().backward()

            machine.most_memory()
            seconds = machine.seconds(both)
            bar = machine.bar(1.0) if (count, side) == (1000, 256) else None
            name = f"{count:,} curves at {side} px, forward and backward"
            yield Figure(name, 1e3 * seconds, "ms", bar, most=True)
            yield Figure(f"memory of it, {count:,} at {side} px", machine.most_memory(), "MiB")


def curves(count: int, side: int) -> Tensor:
    """Polylines `[count, 9, 2]` of cubic curves all over a canvas."""
    draw = torch.Generator().manual_seed(0)
    middle = torch.rand(count, 1, 2, generator=draw) * side
    control = middle + side / 12 * torch.randn(count, 4, 2, generator=draw)
    return flatten(control.clamp(0, side).unsqueeze(1), 8)
