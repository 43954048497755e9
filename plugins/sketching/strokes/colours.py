"""Few colours: a palette for paint, and how much of each pen's ink a photograph needs."""

from __future__ import annotations

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from plugins.sketching.images.photo import grey

Colours = NDArray[numpy.float64]
# Levels of red, green and blue that a palette's choice tells apart.
LEVELS = 16
ROUNDS = 20
# Steps of the projected gradient by which inks are separated.
STEPS = 200


def clustered(
    colours: Colours, count: int, weights: Colours | None = None
) -> tuple[Colours, NDArray[numpy.int64]]:
    """At most `count` colours `[K, 3]` by k-means, bright ones first, and which is nearest to each of `[N, 3]`.

    Args:
        weights: `[N]`, how much each counts; None: all the same.
    """
    if not len(colours):
        return numpy.zeros((1, 3)), numpy.zeros(0, numpy.int64)
    weigh = numpy.ones(len(colours)) if weights is None else weights
    distinct = numpy.unique(colours.round(3), axis=0)
    distinct = distinct[numpy.argsort(lightness(distinct))]
    picks = numpy.linspace(0, len(distinct) - 1, min(count, len(distinct))).round().astype(int)
    palette = distinct[picks]
    nearest = numpy.zeros(len(colours), numpy.int64)
    for _ in range(ROUNDS):
        nearest = ((colours[:, None] - palette) ** 2).sum(2).argmin(1)
        means = [
            numpy.average(colours[mine], 0, weigh[mine]) if mine.any() else palette[k]
            for k in range(len(palette))
            for mine in [nearest == k]
        ]
        palette = numpy.stack(means)
    bright_first = numpy.argsort(-lightness(palette))
    return palette[bright_first], numpy.argsort(bright_first)[nearest]


def lightness(colours: Colours) -> Colours:
    found: Colours = grey(torch.from_numpy(colours)[..., None, None])[..., 0, 0].numpy()
    return found


def palette_of(photo: Tensor, count: int) -> Tensor:
    """The colours `[K, 3]` that a photograph `[3, H, W]` is best painted with.

    A colour counts by the root of how often it is there: a face has its own beside a wall.
    """
    pixels = photo.flatten(1).T.double().cpu().numpy()
    levels = (pixels * (LEVELS - 1)).round() @ [LEVELS**2, LEVELS, 1]
    _, cell, counts = numpy.unique(levels, return_inverse=True, return_counts=True)
    sums = [numpy.bincount(cell, channel) for channel in pixels.T]
    means = numpy.stack(sums, 1) / counts[:, None]
    return torch.from_numpy(
        clustered(means, count, numpy.sqrt(counts.astype(numpy.float64)))[0]
    ).float()


def snapped(colours: Tensor, palette: Tensor) -> Tensor:
    """The nearest colours of a palette `[K, 3]`, `[N, 3]`."""
    return palette[torch.cdist(colours, palette).argmin(1)]


def separated(photo: Tensor, pens: Tensor) -> Tensor:
    """How much ink of each pen `[P, 3]` gives a photograph `[3, H, W]` its colours, `[P, H, W]`, none negative.

    Inks absorb light one after another: logarithms add. Least squares by projected gradient.
    """
    need = -photo.flatten(1).clamp(min=0.03).log()
    absorbs = -pens.to(photo).clamp(min=0.03).log()
    step = 1 / torch.linalg.matrix_norm(absorbs, 2) ** 2
    inks = photo.new_zeros(len(pens), need.shape[1])
    for _ in range(STEPS):
        inks = (inks - step * absorbs @ (absorbs.T @ inks - need)).clamp(min=0)
    return inks.reshape(len(pens), *photo.shape[1:])
