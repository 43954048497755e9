"""A curve's points: all of the first ones, ever fewer of the later ones, the same after a resume."""

import pickle

import pytest

from framework.curve import FIRST, Curve


def curve(count: int) -> Curve[float]:
    made = Curve[float]()
    for number in range(count):
        made.add(0.5 * number)
    return made


def test_the_first_values_are_all_kept():
    made = curve(FIRST)
    assert made.steps == list(range(FIRST))
    assert made.values == [0.5 * step for step in range(FIRST)]


def test_of_each_doubling_half_as_many_are_kept():
    made = curve(4 * FIRST)
    assert made.steps == [*range(512), *range(512, 1024, 2), *range(1024, 2048, 4)]
    assert made.values == [0.5 * step for step in made.steps]
    assert made.count == 2048


def test_a_hundred_times_as_many_values_take_no_five_times_the_room():
    short, long = (len(pickle.dumps(curve(count).state_dict())) for count in (1_000, 100_000))
    assert long < 5 * short


@pytest.mark.parametrize("at", [3, 600, 1023, 1024])
def test_a_resumed_curve_is_that_of_an_uninterrupted_one(at):
    again, whole = Curve[float](), curve(1500)
    again.load_state_dict(curve(at).state_dict())
    for number in range(at, 1500):
        again.add(0.5 * number)
    assert again.state_dict() == whole.state_dict()


def test_an_earlier_versions_list_of_all_values_is_read():
    again = Curve[float]()
    again.load_state_dict([0.5 * number for number in range(1200)])
    assert again.state_dict() == curve(1200).state_dict()
