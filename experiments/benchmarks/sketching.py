"""The rasteriser against dense rendering: CPU time of forward and backward on one thread, and peak memory.

    python -m experiments.benchmarks.sketching [CHECKOUT]

CHECKOUT is a checkout of jonhare/DifferentiableSketching, the code of the 2021 paper, which is then timed as well.
Times are minima over several calls, all in one run, so that ratios are meaningful on a busy machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.command import given_arguments
from plugins.sketching.raster.render import Backend, render
from plugins.sketching.raster.step import render_and_loss
from tests.plugins.sketching.dense import dense

# Lines, and pixels of a side.
CASES = ((100, 128), (100, 256), (500, 128))
SIGMA = 1.0
BACKENDS: tuple[Backend, ...] = ("torch", "numba")
Render = Callable[[Tensor, int], Tensor]
# From points and a target, the picture and the points' gradient of the mean squared error.
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def main(checkout: str | None = None) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    ways: dict[str, Step] = {}
    for backend in BACKENDS if find_spec("numba") else BACKENDS[:1]:
        ways[f"tiles, {backend}"] = by_autograd(tiled(backend))
        ways[f"{backend}, no graph"] = partial(without_graph, backend)
    ways["dense reference"] = by_autograd(
        lambda p, side: dense(p, torch.full((len(p),), SIGMA), (side, side))
    )
    if checkout:
        ways["2021 paper's code"] = by_autograd(of_the_paper(Path(checkout)))
    print(f"{'lines, pixels':>14} " + "".join(f"{name:>30}" for name in ways))
    for count, side in CASES:
        points = lines(count, side)
        found = {name: measured(draw, points, side) for name, draw in ways.items()}
        row = f"{count:>7}, {side:>5} "
        for seconds, picture, gradient in found.values():
            ratios = f"{found['dense reference'][0] / seconds:6.0f}x"
            error = float((picture - found["dense reference"][1]).abs().max())
            cosine = torch.cosine_similarity(
                gradient.flatten(), found["dense reference"][2].flatten(), 0
            )
            row += f"{1e3 * seconds:9.2f} ms {ratios} {error:.0e} {1 - float(cosine):.0e}"
        print(row)
    print(
        "(times faster than the dense reference; largest difference of a pixel; 1 - cosine of the gradients)"
    )
    print_memory()


def lines(count: int, side: int) -> Tensor:
    """Lines about a fifth of the canvas long, all over it: `[count, 2, 2]`."""
    draw = torch.Generator().manual_seed(0)
    middle = torch.rand(count, 1, 2, generator=draw) * side
    return (middle + side / 8 * torch.randn(count, 2, 2, generator=draw)).clamp(0, side)


def tiled(backend: Backend) -> Render:
    return lambda points, side: render(points, SIGMA, side, backend=backend)


def of_the_paper(checkout: Path) -> Render:
    """The paper's functions, called as its image optimisation calls them."""
    sys.path.insert(0, str(checkout))
    distance: Any = import_module("dsketch.raster.disttrans")
    raster: Any = import_module("dsketch.raster.raster")
    composite: Any = import_module("dsketch.raster.composite")

    def draw(points: Tensor, side: int) -> Tensor:
        centres = torch.arange(side) + 0.5
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)
        drawn = raster.exp(distance.line_edt2(points.unsqueeze(0), grid), SIGMA**2)
        picture: Tensor = composite.softor(drawn)[0]
        return picture

    return draw


def by_autograd(draw: Render) -> Step:
    def step(points: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        leaf = points.clone().requires_grad_()
        picture = draw(leaf, len(target))
        ((picture - target) ** 2).mean().backward()
        assert leaf.grad is not None
        return picture.detach(), leaf.grad

    return step


def without_graph(backend: Backend, points: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    step = render_and_loss(points, SIGMA, target, backend=backend)
    return step.ink, step.points


def measured(step: Step, points: Tensor, side: int) -> tuple[float, Tensor, Tensor]:
    """The minimum CPU seconds of forward and backward, the picture and the gradient."""
    target = torch.rand(side, side, generator=torch.Generator().manual_seed(1))
    best = float("inf")
    began = time.monotonic()
    # The first call compiles.
    picture, gradient = step(points, target)
    for number in range(60):
        start = time.process_time()
        picture, gradient = step(points, target)
        best = min(best, time.process_time() - start)
        if number and time.monotonic() - began > 15:
            break
    return best, picture, gradient


def print_memory() -> None:
    """Peak memory above the interpreter with torch loaded, each number of strokes in a separate process."""
    for backend in ("torch", "numba") if find_spec("numba") else ("torch",):
        for count in (100, 1000):
            command = [sys.executable, "-m", __spec__.name, "memory", backend, str(count)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            print(f"{count:>5} lines at 512 pixels, {backend}: {output.strip()} MiB")


def memory(backend: Backend, count: int) -> None:
    """Print how far this process's memory rises, in MiB, while `count` lines at 512 pixels are rendered."""
    torch.set_num_threads(1)
    small = lines(4, 64).requires_grad_()
    render(small, SIGMA, 64, backend=backend).sum().backward()
    # Reset the peak.
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    for _ in range(3):
        points = lines(count, 512).requires_grad_()
        render(points, SIGMA, 512, backend=backend).square().mean().backward()
    print(f"{(status('VmHWM') - before) / 1024:.0f}")


def status(name: str) -> int:
    """A line of Linux's /proc/self/status, in KiB."""
    found = [row for row in Path("/proc/self/status").read_text().splitlines() if name in row]
    return int(found[0].split()[1])


if __name__ == "__main__":
    given = given_arguments(__doc__, most=3)
    if given[:1] == ["memory"]:
        memory(given[1], int(given[2]))  # type: ignore[arg-type]
    else:
        main(*given[:1])
