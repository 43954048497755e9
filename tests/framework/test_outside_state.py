"""What a function changes outside a run of it is found, and left as it was."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from framework.outside_state import OutsideState


class Owner:
    """An object whose method draws by a generator of its own."""

    def __init__(self, generator):
        self.generator = generator

    def draw(self):
        return drawn(self.generator)


def drawn(generator):
    if isinstance(generator, torch.Generator):
        return float(torch.rand((), generator=generator))
    return float(generator.random())


GENERATORS: dict[str, Callable[[], Any]] = {
    "torch": lambda: torch.Generator().manual_seed(1),
    "numpy": lambda: np.random.default_rng(1),
    "legacy numpy": lambda: np.random.RandomState(1),
    "python": lambda: random.Random(1),
}
WAYS: dict[str, Callable[[Any], Callable[[], float]]] = {
    "closure": lambda generator: lambda: drawn(generator),
    "function in a closure": lambda generator: partial(
        lambda inner: inner(), lambda: drawn(generator)
    ),
    "method": lambda generator: Owner(generator).draw,
    "default": lambda generator: partial(drawn, generator),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", GENERATORS)
def test_a_generator_that_a_function_holds_is_put_back_and_begins_at_the_seed(kind, way):
    generator = GENERATORS[kind]()
    function = WAYS[way](generator)
    outside = OutsideState(function)
    before, found = outside.states(), []
    for seed in (5, 5, 6):
        with outside.kept(seed):
            found.append(function())
        assert outside.states() == before
    assert found[0] == found[1] != found[2]
    with outside.kept():
        expected = function()
    assert function() == expected


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_the_global_generators_are_kept(draw):
    outside = OutsideState(lambda: None)
    with outside.kept(2**62):
        first = draw()
    with outside.kept(2**62):
        assert draw() == first


def test_running_statistics_of_a_module_that_a_helper_names_are_kept():
    layer = torch.nn.BatchNorm1d(1)

    def helper():
        return layer(torch.randn(4, 1))

    with OutsideState(lambda: helper()).kept():
        helper()
    assert layer.num_batches_tracked == 0


def test_a_variable_without_a_value_and_a_circle_are_passed_over():
    def first():
        return second()

    def second():
        return first()

    def early():
        return late

    OutsideState(first).states()
    OutsideState(early).states()
    late = 1
    assert early() == late


def test_code_that_says_no_module_is_looked_at_too():
    written: dict[str, Any] = {"held": torch.Generator()}
    exec("def draw():\n    return held.initial_seed()", written)
    draw = written["draw"]
    draw.__module__ = None
    before = written["held"].get_state()
    with OutsideState(draw).kept():
        torch.rand(3, generator=written["held"])
    assert torch.equal(written["held"].get_state(), before)
