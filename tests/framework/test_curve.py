"""A curve's points: all of the first ones, ever fewer of the later ones, the same after a resume."""

import pickle
from typing import Any

import pytest

from framework.curve import FIRST, Curve
from framework.errors import UserError


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


BROKEN: dict[str, Any] = {
    "a negative count": {"values": [], "count": -1},
    "a count beyond all": {"values": [], "count": 2**70},
    "too few values": {"values": [1.0], "count": 3},
    "too many values": {"values": [1.0] * 9, "count": 3},
    "no number": {"values": ["x"], "count": 1},
    "a truth": [True],
    "pairs": {"values": [(1.0, 2.0)], "count": 1},
    "nothing": {},
    "no state": 7,
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_state_of_such_a_curve_is_refused(case):
    with pytest.raises(UserError, match=r"^checkpoint: the curve"):
        Curve[float]().load_state_dict(BROKEN[case])


def test_a_curve_of_pairs_takes_pairs_and_nothing_else():
    pairs = Curve[tuple[float, float]](2)
    pairs.add((1.0, 2.0))
    again = Curve[tuple[float, float]](2)
    again.load_state_dict(pairs.state_dict())
    assert again.values == [(1.0, 2.0)]
    for state in ([1.0], [[1.0]], [[1.0, 2.0, 3.0]]):
        with pytest.raises(UserError, match=r"^checkpoint: the curve's 'values"):
            again.load_state_dict(state)


def test_an_earlier_versions_list_of_all_values_is_read():
    again = Curve[float]()
    again.load_state_dict([0.5 * number for number in range(1200)])
    assert again.state_dict() == curve(1200).state_dict()
