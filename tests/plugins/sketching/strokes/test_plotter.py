"""A plotter's route visits every stroke once and never travels farther than the order that was given."""

from __future__ import annotations

from itertools import permutations, product

import numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.sketching.strokes.plotter import Route, ordered, travel


def some(count: int, seed: int) -> numpy.ndarray:
    return numpy.random.default_rng(seed).uniform(0, 100, (count, 2, 2))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 30), seed=st.integers(0, 10**6))
def test_every_stroke_is_drawn_once_and_travel_does_not_grow(count, seed):
    ends = some(count, seed)
    route = ordered(ends)
    assert sorted(route.order.tolist()) == list(range(count))
    assert travel(ends, route) <= travel(ends) + 1e-9


def test_small_routes_are_within_a_fifth_of_the_best_on_average():
    ratios = []
    for seed in range(12):
        ends = some(4, seed)
        best = min(
            travel(ends, Route(numpy.array(order), numpy.array(flipped)))
            for order in permutations(range(4))
            for flipped in product([False, True], repeat=4)
        )
        ratios.append(travel(ends, ordered(ends)) / best)
    assert numpy.mean(ratios) < 1.2
    assert numpy.median(ratios) < 1.01


def test_travel_of_many_strokes_shrinks_tenfold():
    ends = some(600, 0)
    assert travel(ends, ordered(ends)) < 0.1 * travel(ends)


def test_travel_is_the_way_between_strokes_in_their_directions():
    ends = numpy.array([[[0.0, 0], [1, 0]], [[4.0, 4], [1, 4]]])
    assert travel(ends) == 5
    assert travel(ends, Route(numpy.array([0, 1]), numpy.array([False, True]))) == 4
