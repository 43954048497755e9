"""Bodies: what they make of what is seen."""

from __future__ import annotations

import numpy
import pytest
import torch
from gymnasium.spaces import Box

from plugins.games.policies.bodies import Nature
from plugins.games.policies.egocentric import Egocentric


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_bytes_are_seen_from_0_to_1_and_left_as_they_are(dtype):
    torch.manual_seed(0)
    body = Nature(Box(0, 255, (4, 84, 84), numpy.uint8), 8)
    seen = torch.randint(256, (3, 4, 84, 84)).to(dtype, memory_format=torch.channels_last)
    before = seen.clone()
    features = body(seen.unsqueeze(0))
    assert torch.equal(seen, before)
    torch.testing.assert_close(features[0], body.last(body.layers(before.float() / 255)))


def test_a_board_is_seen_with_its_player_in_the_middle_and_its_edges():
    boards = torch.zeros(2, 2, 3, 4)
    boards[0, 0, 0, 3], boards[0, 1, 2, 1] = 5.0, 1.0
    boards[1, 0, 1, 0], boards[1, 1, 0, 0] = 7.0, 1.0
    views = Egocentric()(boards)
    assert views.shape == (2, 2, 5, 7)
    # The middle is row 2, column 3; the first board's number is two rows up and two columns to the right of its player.
    assert views[0, 0].nonzero().tolist() == [[0, 5]]
    assert views[1, 0].nonzero().tolist() == [[3, 3]]
    assert views[:, 1].sum((1, 2)).tolist() == [12, 12]
    assert views[0, 1, :3, 2:6].all()
    assert views[1, 1, 2:, 3:].all()
