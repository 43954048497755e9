"""The order in which a pen plotter draws: as little travel with the pen up as is found quickly.

Greedy first (go on with the nearest free end, turning strokes round where that is nearer), then 2-opt: a run of strokes
is reversed wherever that shortens the way (Croes 1958).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy
from numpy.typing import NDArray

Ends = NDArray[numpy.float64]  # [S, 2, 2]: each stroke's start and end, x and y

ROUNDS = 20  # of 2-opt, over all strokes


@dataclass(frozen=True)
class Route:
    """An order of strokes: `order[k]` is drawn k-th, from its end to its start where `turned[k]`."""

    order: NDArray[numpy.int64]
    turned: NDArray[numpy.bool_]


def travel(ends: Ends, route: Route | None = None) -> float:
    """The way with the pen up between strokes, in the ends' units; in the order given where there is no route."""
    if len(ends) < 2:
        return 0.0
    if route is not None:
        ends = followed(ends, route)
    return float(numpy.linalg.norm(ends[1:, 0] - ends[:-1, 1], axis=1).sum())


def followed(ends: Ends, route: Route) -> Ends:
    """The ends in a route's order and directions."""
    chosen = ends[route.order]
    return numpy.where(route.turned[:, None, None], chosen[:, ::-1], chosen)


def ordered(ends: Ends) -> Route:
    """A short route through all strokes; what is given is kept where nothing shorter is found.

    The last few are remembered: who measures a drawing shows it next.
    """
    return remembered(ends.tobytes())


@lru_cache(maxsize=2)
def remembered(data: bytes) -> Route:
    """`ordered`, of ends as bytes."""
    ends = numpy.frombuffer(data, numpy.float64).reshape(-1, 2, 2)
    given = Route(numpy.arange(len(ends)), numpy.zeros(len(ends), bool))
    if len(ends) < 2:
        return given
    found = improved(ends, greedy(ends))
    return found if travel(ends, found) < travel(ends) else given


def greedy(ends: Ends) -> Route:
    """From the first stroke always to the nearest free end."""
    count = len(ends)
    order, turned = numpy.zeros(count, numpy.int64), numpy.zeros(count, bool)
    free = numpy.ones(count, bool)
    free[0] = False
    place = ends[0, 1]
    for k in range(1, count):
        way = ((ends - place) ** 2).sum(2)  # [S, 2]
        way[~free] = numpy.inf
        order[k], end = divmod(int(way.argmin()), 2)
        turned[k] = end == 1
        free[order[k]] = False
        place = ends[order[k], 1 - end]
    return Route(order, turned)


def improved(ends: Ends, route: Route) -> Route:
    """2-opt until nothing is gained in a round: reversing strokes i..j changes the ways at both ends of the run."""
    order, turned = route.order.copy(), route.turned.copy()
    path = followed(ends, route).copy()
    count = len(path)
    for _ in range(ROUNDS):
        gained = False
        for i in range(count):
            before = path[i - 1, 1] if i else path[i, 0]
            last = path[i:, 1]  # the exits of i..j, for each j
            ahead = numpy.concatenate([path[i + 1 :, 0], path[-1:, 1]])  # the entries behind j
            now = (i > 0) * norm(path[i, 0] - before) + norm(ahead - last)
            then = (i > 0) * norm(last - before) + norm(ahead - path[i, 0])
            now[-1], then[-1] = (
                (i > 0) * norm(path[i, 0] - before),
                (i > 0) * norm(last[-1] - before),
            )
            best = int((then - now).argmin())
            if then[best] - now[best] < -1e-9:
                run = slice(i, i + best + 1)
                order[run], turned[run] = order[run][::-1].copy(), ~turned[run][::-1]
                path[run] = path[run][::-1, ::-1].copy()
                gained = True
        if not gained:
            break
    return Route(order, turned)


def norm(way: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    length: NDArray[numpy.float64] = numpy.hypot(way[..., 0], way[..., 1])
    return length
