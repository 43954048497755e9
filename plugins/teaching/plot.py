"""The teaching examples' pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from framework.media import Pixels

Points = tuple[Sequence[float], Sequence[float]]


def probability_over_steps(
    paths: Mapping[str, tuple[Sequence[int], Sequence[float]]], best: float
) -> Figure:
    """A coin's probability over the steps, one line (steps, probabilities) per name; `best` is the optimum."""
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.axhline(best, color="0.75", lw=5, zorder=1)
    for name, path in paths.items():
        axes.plot(*path, lw=1.5, label=name)
    axes.set(xlabel="optimiser step", ylabel="probability of 1", ylim=(-0.03, 1.03))
    if len(paths) > 1:
        axes.legend(frameon=False, fontsize=8)
    return tidy(figure)


def two_paths(
    steps: Sequence[int], path: Sequence[tuple[float, float]], best: tuple[float, float]
) -> Figure:
    """Two probabilities over the steps, and their optima."""
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=110)
    axes = figure.subplots()
    names = ("p: a fish bites (the loop)", "q: a friend cooks (the branch)")
    for number, colour in enumerate(("tab:blue", "tab:orange")):
        axes.axhline(best[number], color=colour, alpha=0.25, lw=5)
        values = [point[number] for point in path]
        axes.plot(steps, values, color=colour, lw=1.5, label=names[number])
    axes.set(xlabel="optimiser step", ylabel="probability", ylim=(0, 1))
    axes.legend(frameon=False)
    return tidy(figure)


def descents(
    curvatures: Sequence[float],
    rates: Sequence[float],
    walks: Sequence[Sequence[Sequence[float]]],
    hill: Points,
    path: Points,
) -> Figure:
    """Inner descents in the valley, and the outer descent on the expected height.

    Args:
        curvatures: of the valley's two axes.
        rates: the learning rates of `walks`, each a list of points.
        hill: rates and their expected heights.
        path: the rates before each outer step and at the end, and their expected heights.
    """
    figure = Figure(figsize=(11, 4), layout="constrained", dpi=110)
    valley, outer = figure.subplots(1, 2)
    colour = colormaps["viridis"]
    x, y = numpy.meshgrid(numpy.linspace(-0.4, 1.2, 120), numpy.linspace(-0.8, 1.2, 120))
    height = 0.5 * (curvatures[0] * x**2 + curvatures[1] * y**2)
    valley.contour(x, y, height, levels=numpy.geomspace(0.02, 6, 10), colors="0.8", linewidths=0.8)
    for number, (rate, walk) in enumerate(zip(rates, walks, strict=True)):
        shade = colour(0.9 * number / max(1, len(rates) - 1))
        valley.plot(*zip(*walk, strict=True), "o-", ms=3, color=shade, label=f"rate {rate:.3f}")
    valley.set(title="Inner descents", xlabel="w₁", ylabel="w₂", xlim=(-0.4, 1.2), ylim=(-0.8, 1.2))
    valley.legend(frameon=False, fontsize=8, loc="lower right")
    outer.plot(*hill, color="0.75", lw=5, zorder=1)
    outer.scatter(*path, c=numpy.arange(len(path[0])), cmap=colour, s=14, zorder=2)
    outer.set(
        title="The outer descent",
        xlabel="learning rate",
        ylabel="expected height at the end",
        xscale="log",
        yscale="log",
    )
    return tidy(figure)


def rows_of_digits(rows: Sequence[Tensor], size: tuple[int, int], scale: int = 6) -> Pixels:
    """Digits `[N, P]` between 0 and 1 in rows, dark on light, each pixel a square of `scale` pixels."""
    height, width = size
    scale = max(1, scale * 8 // width)
    lines = []
    for row in rows:
        pictures = 1 - row.detach().cpu().clamp(0, 1).reshape(-1, height, width).numpy()
        framed = numpy.pad(pictures, ((0, 0), (0, 1), (0, 1)), constant_values=0.85)
        lines.append(numpy.concatenate(list(framed), axis=1))
    grey = numpy.kron(numpy.concatenate(lines), numpy.ones((scale, scale)))
    return numpy.repeat((255 * grey).astype(numpy.uint8)[:, :, None], 3, axis=2)


def tidy(figure: Figure) -> Figure:
    """Remove the frame's upper and right edges."""
    for axes in figure.axes:
        if isinstance(axes, Axes):
            axes.spines[["top", "right"]].set_visible(False)
    return figure
