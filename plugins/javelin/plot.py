"""The javelin's picture: some throws along the training, and the gradient's path over the hill of ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray


def throws_and_path(
    steps: Sequence[int],
    path: Sequence[float],
    reached: Sequence[float],
    degrees: NDArray[numpy.float32],
    metres: NDArray[numpy.float32],
) -> Figure:
    """Plot both.

    Args:
        steps: the steps that are drawn, from 0 to the end.
        path: the angle before each of them, in degrees.
        reached: the range at each of these angles with a steady hand, in metres.
        degrees, metres: the hill, the range at every angle.
    """
    figure = Figure(figsize=(11, 4), layout="constrained", dpi=110)
    throws, hill = figure.subplots(1, 2)
    colour = colormaps["viridis"]
    chosen = numpy.unique(numpy.geomspace(1, len(path), 8).astype(int) - 1)
    # Most of the way is covered in the first steps.
    shades = numpy.log1p(steps)
    for number in chosen:
        angle, length = math.radians(path[number]), reached[number]
        x = numpy.linspace(0, length, 80)
        # A parabola through both ends.
        y = math.tan(angle) * x * (1 - x / max(length, 1e-6))
        shade = colour(0.95 * shades[number] / max(shades[-1], 1e-6))
        label = f"step {steps[number]}: {path[number]:.1f}°, {length:.1f} m"
        throws.plot(x, y, color=shade, lw=2, label=label)
    throws.set(xlabel="metres", ylabel="height (m)", title="Throws along the training")
    throws.set_ylim(0, 1.6 * throws.get_ylim()[1])
    throws.legend(fontsize=8, frameon=False, loc="upper left", ncols=2)
    hill.plot(degrees, metres, color="0.75", lw=5, zorder=1)
    hill.scatter(path, reached, c=shades, cmap=colour, s=16, zorder=2)
    hill.annotate(
        f"{path[-1]:.2f}°",
        (path[-1], reached[-1]),
        (0, 10),
        textcoords="offset points",
        ha="center",
    )
    hill.set(xlabel="angle (degrees)", ylabel="range (m)", title="The gradient's path")
    hill.set_ylim(0, 1.15 * float(metres.max()))
    for axes in (throws, hill):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
