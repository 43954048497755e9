"""The order in which a pen plotter draws: little pen-up travel, computed quickly.

Greedy first (continue at the nearest free end, reversing strokes where that is nearer), then 2-opt: a run of strokes is
flipped wherever that shortens the route (Croes 1958).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy
from numpy.typing import NDArray

# `[S, 2, 2]`: each stroke's start and end, x and y.
Ends = NDArray[numpy.float64]

# Of 2-opt, over all strokes.
ROUNDS = 20


@dataclass(frozen=True)
class Route:
    """An order of strokes: `order[k]` is drawn k-th, from its end to its start where `flipped[k]`."""

    order: NDArray[numpy.int64]
    flipped: NDArray[numpy.bool_]


def travel(ends: Ends, route: Route | None = None) -> float:
    """The length of pen-up travel between strokes, in the ends' units; without a route, in the order given."""
    if len(ends) < 2:
        return 0.0
    if route is not None:
        ends = reordered(ends, route)
    return float(numpy.linalg.norm(ends[1:, 0] - ends[:-1, 1], axis=1).sum())


def reordered(ends: Ends, route: Route) -> Ends:
    """The ends in a route's order and directions."""
    chosen = ends[route.order]
    return numpy.where(route.flipped[:, None, None], chosen[:, ::-1], chosen)


def ordered(ends: Ends) -> Route:
    """A short route through all strokes; the given order where no shorter one is found.

    The last few routes are cached: a drawing that is evaluated is usually shown next.
    """
    return cached_route(ends.tobytes())


@lru_cache(maxsize=2)
def cached_route(data: bytes) -> Route:
    """`ordered`, of ends as bytes."""
    ends = numpy.frombuffer(data, numpy.float64).reshape(-1, 2, 2)
    given = Route(numpy.arange(len(ends)), numpy.zeros(len(ends), bool))
    if len(ends) < 2:
        return given
    found = two_opt(ends, greedy(ends))
    return found if travel(ends, found) < travel(ends) else given


def greedy(ends: Ends) -> Route:
    """From the first stroke, always to the nearest free end."""
    count = len(ends)
    order, flipped = numpy.zeros(count, numpy.int64), numpy.zeros(count, bool)
    free = numpy.ones(count, bool)
    free[0] = False
    place = ends[0, 1]
    for k in range(1, count):
        # `[S, 2]`.
        distance = ((ends - place) ** 2).sum(2)
        distance[~free] = numpy.inf
        order[k], end = divmod(int(distance.argmin()), 2)
        flipped[k] = end == 1
        free[order[k]] = False
        place = ends[order[k], 1 - end]
    return Route(order, flipped)


def two_opt(ends: Ends, route: Route) -> Route:
    """2-opt until a round gains nothing: reversing strokes i..j changes the travel at both ends of the run."""
    order, flipped = route.order.copy(), route.flipped.copy()
    path = reordered(ends, route).copy()
    count = len(path)
    for _ in range(ROUNDS):
        gained = False
        for i in range(count):
            before = path[i - 1, 1] if i else path[i, 0]
            # The exits of i..j and the entries after j, for each j.
            last = path[i:, 1]
            ahead = numpy.concatenate([path[i + 1 :, 0], path[-1:, 1]])
            now = (i > 0) * norm(path[i, 0] - before) + norm(ahead - last)
            then = (i > 0) * norm(last - before) + norm(ahead - path[i, 0])
            now[-1], then[-1] = (
                (i > 0) * norm(path[i, 0] - before),
                (i > 0) * norm(last[-1] - before),
            )
            best = int((then - now).argmin())
            if then[best] - now[best] < -1e-9:
                run = slice(i, i + best + 1)
                order[run], flipped[run] = order[run][::-1].copy(), ~flipped[run][::-1]
                path[run] = path[run][::-1, ::-1].copy()
                gained = True
        if not gained:
            break
    return Route(order, flipped)


def norm(way: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    length: NDArray[numpy.float64] = numpy.hypot(way[..., 0], way[..., 1])
    return length
