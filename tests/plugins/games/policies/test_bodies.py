"""Bodies: what they make of what is seen."""

from __future__ import annotations

import numpy
import pytest
import torch
from gymnasium.spaces import Box

from plugins.games.policies.bodies import Nature


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_bytes_are_seen_from_0_to_1_and_left_as_they_are(dtype):
    torch.manual_seed(0)
    body = Nature(Box(0, 255, (4, 84, 84), numpy.uint8), 8)
    seen = torch.randint(256, (3, 4, 84, 84)).to(dtype, memory_format=torch.channels_last)
    before = seen.clone()
    features = body(seen.unsqueeze(0))
    assert torch.equal(seen, before)
    torch.testing.assert_close(features[0], body.last(body.layers(before.float() / 255)))
