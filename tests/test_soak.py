"""The soak can fail: a leak of known size, planted in its records or in a real training, is found."""

import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests import soak
from tests.soak import BLOCK, Record, grown, slope, watch

MEGABYTE = 2.0**20


def records(count: int = 40, **growth: float) -> list[Record]:
    """A steady training's, but for what grows by so much a step; the noise is larger than what was measured."""
    noise = random.Random(4)
    steady = {
        "memory in use": (800 * MEGABYTE, 0.1 * MEGABYTE),
        "memory as it is": (850 * MEGABYTE, 3 * MEGABYTE),
        "checkpoint": (30_000.0, 200.0),
        "descriptors": (11.0, 0.0),
        "threads": (2.0, 0.0),
        "seconds of a step": (0.0012, 0.0002),
        "seconds of a block": (6.0, 1.0),
    }
    return [
        {"step": step}
        | {
            name: level + wide * noise.uniform(-1, 1) + growth.get(name.replace(" ", "_"), 0) * step
            for name, (level, wide) in steady.items()
        }
        for step in range(BLOCK, BLOCK * (count + 1), BLOCK)
    ]


def test_what_is_steady_passes():
    assert grown(records()) == []


@pytest.mark.parametrize(
    ("name", "by"),
    [
        # A number kept in a list at each step.
        ("memory in use", 32.0),
        ("memory as it is", 300.0),
        # A number in a saved list.
        ("checkpoint", 9.0),
        # One more in 40,000 steps.
        ("descriptors", 1 / 40_000),
        ("threads", 1 / 40_000),
        ("seconds of a step", 0.0006 / 80_000),
        ("seconds of a block", 3.0 / 80_000),
    ],
)
def test_what_grows_is_named(name, by):
    assert grown(records(**{name.replace(" ", "_"): by})) == [name]


def with_jumps(*at: int) -> list[Record]:
    """Steady but for 4 MiB more from each of these records on."""
    found = records()
    for first in at:
        for record in found[first:]:
            record["memory in use"] += 4 * MEGABYTE
    return found


@pytest.mark.parametrize("at", [5, 20, 35])
def test_a_jump_is_no_growth_by_the_step_wherever_it_is(at):
    assert grown(with_jumps(at)) == []
    assert slope(with_jumps(at), "memory in use") < 16


def test_many_jumps_are_a_leak():
    assert grown(with_jumps(10, 15, 20, 25)) == ["memory in use"]


def test_too_few_records_are_no_verdict():
    with pytest.raises(ValueError, match="7 records of 2000 steps; at least 8 are needed"):
        grown(records(7))


def keep_numbers() -> Callable[[], None]:
    kept: list[float] = []
    return lambda: kept.append(float(len(kept)))


def keep_buffers() -> Callable[[], None]:
    kept: list[bytearray] = []
    return lambda: kept.append(bytearray(1000))


def with_leak(plant: Callable[[], Callable[[], None]]) -> tuple[list[str], float]:
    """What grew in 20,000 steps of a training that keeps something at each step, and the memory's growth by step."""
    soak.BLOCK, soak.WARM = 1000, 0.5
    quick = ["trainer.steps=20000", "trainer.evaluate_every=1000", "trainer.checkpoint_every=1000"]
    planted = watch(60.0, *quick, plant=plant())
    return grown(planted), slope(planted, "memory in use")


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("plant", [keep_numbers, keep_buffers])
def test_a_leak_in_a_real_training_is_found(plant):
    """A float and its place in a list are 32 bytes; a bytearray of 1,000 bytes is more.

    In a process of its own: in the holes that other tests left in the memory of this one, a small leak hides.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        found, growth = fresh.submit(with_leak, plant).result()
    assert "memory in use" in found
    assert growth > (24 if plant is keep_numbers else 900)
