"""How a picture's axes are read."""

import numpy
import pytest
from gymnasium.spaces import Box

from plugins.games.policies.layout import layout_of


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 10, 10), (4, 10, 10)),
        ((84, 84, 3), (3, 84, 84)),
        # Square boards with more planes than rows.
        ((17, 8, 8), (17, 8, 8)),
        ((8, 8, 17), (17, 8, 8)),
        ((2, 8, 8, 17), (34, 8, 8)),
        # Where all differ the smaller end is the channel axis.
        ((3, 96, 128), (3, 96, 128)),
        ((96, 128, 3), (3, 96, 128)),
        ((8, 8, 8), (8, 8, 8)),
        ((20, 30), (1, 20, 30)),
    ],
)
def test_the_channel_axis_is_found(shape, expected):
    assert layout_of(Box(0, 255, shape, numpy.uint8)).shape == expected
