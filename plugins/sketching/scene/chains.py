"""Contours of lines, quadratic and cubic Bezier curves over shared points, as polylines, differentiable in them.

All segments of a scene are flattened at once, each into as many pieces as its own bend requires (Wang's bound).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from plugins.sketching.strokes.primitives import MAX_PIECES, TOLERANCE

# By degree, the weights of a segment's points in the control points of the same curve as a cubic, `[4, 4, 4]`.
ELEVATION = torch.tensor(
    [
        [[0.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[1, 0, 0, 0], [2 / 3, 1 / 3, 0, 0], [1 / 3, 2 / 3, 0, 0], [0, 1, 0, 0]],
        [[1, 0, 0, 0], [1 / 3, 2 / 3, 0, 0], [0, 2 / 3, 1 / 3, 0], [0, 0, 1, 0]],
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    ],
    dtype=torch.float64,
)


@dataclass(frozen=True)
class Chains:
    """C contours of M segments together.

    Attributes:
        index: `[M, 4]`, the points of each segment among all points, its end repeated where it has fewer than 4.
        degree: `[M]`, 1 for a line to 3 for a cubic.
        first: `[C + 1]`, where each contour's segments begin.
    """

    index: NDArray[numpy.int64]
    degree: NDArray[numpy.int64]
    first: NDArray[numpy.int64]

    @classmethod
    def of(cls, contours: Sequence[tuple[Sequence[int], bool]]) -> Chains:
        """The chains of contours whose points follow one another.

        Args:
            contours: for each the degree of its segments, and whether it is closed: the last segment of a closed one
                ends in the contour's first point, which is not repeated.
        """
        rows: list[list[int]] = []
        degrees: list[int] = []
        first, place = [0], 0
        for degree, closed in contours:
            start, count = place, sum(degree) + (0 if closed else 1)
            for one in degree:
                row = [start + (place - start + step) % count for step in range(one + 1)]
                rows.append(row + row[-1:] * (3 - one))
                place += one
            place = start + count
            degrees += degree
            first.append(len(rows))
        return cls(
            numpy.array(rows, numpy.int64).reshape(-1, 4),
            numpy.array(degrees, numpy.int64),
            numpy.array(first, numpy.int64),
        )

    def cubics(self, points: Tensor) -> Tensor:
        """All segments as cubics `[M, 4, D]`, from the points `[P, D]`."""
        device = points.device
        weights = ELEVATION.to(device, points.dtype)[torch.from_numpy(self.degree).to(device)]
        return weights @ points[torch.from_numpy(self.index).to(device)]

    def polylines(self, points: Tensor, tolerance: float = TOLERANCE) -> list[Tensor]:
        """Each contour as a polyline `[V, D]` within `tolerance`; a closed one ends where it starts.

        Args:
            points: `[P, D]`: x, y, and what else varies along curves as they do, such as the width of a pen.
        """
        if len(self.degree) == 0:
            return []
        cubics = self.cubics(points)
        bend = cubics.detach().diff(n=2, dim=-2).norm(dim=-1).amax(-1).double().cpu().numpy()
        pieces = numpy.ceil(numpy.sqrt(0.75 * bend / tolerance) - 1e-6)
        pieces = numpy.clip(numpy.nan_to_num(pieces, nan=1, posinf=MAX_PIECES), 1, MAX_PIECES)
        pieces = pieces.astype(numpy.int64)
        # The last segment of a contour has its end, too.
        counts = pieces.copy()
        counts[self.first[1:] - 1] += 1
        owner = numpy.repeat(numpy.arange(len(counts)), counts)
        begins = numpy.cumsum(counts) - counts
        t = (numpy.arange(len(owner)) - begins[owner]) / pieces[owner]
        s = 1 - t
        weights = numpy.stack([s**3, 3 * s * s * t, 3 * s * t * t, t**3], 1)
        place = torch.from_numpy(owner).to(points.device)
        weight = torch.from_numpy(weights).to(points.device, points.dtype)
        vertices = (weight[:, :, None] * cubics[place]).sum(1)
        sizes = numpy.add.reduceat(counts, self.first[:-1])
        return list(vertices.split(sizes.tolist()))
