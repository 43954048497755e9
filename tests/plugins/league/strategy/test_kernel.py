"""The compiled loops play and show the strategy game as the torch version does, bit by bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plugins.league.strategy.boards import any_legal, crowded, played

pytest.importorskip("numba")

SHAPES = [(8, 12, 2), (11, 5, 1), (13, 20, 3), (16, 12, 16)]


def equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        assert torch.equal(value, other[name]), name


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**31 - 1), st.sampled_from(SHAPES), st.booleans(), st.booleans())
def test_the_compiled_game_is_the_torch_version(seed, shape, full, legal):
    size, slots, sight = shape
    options = {"size": size, "slots": slots, "sight": sight, "longest": 70}
    rules = crowded(seed, 6, **options) if full else played(seed, 6, 65, **options)
    assert rules.kernel is not None
    plain = rules.select(torch.arange(6))
    plain.kernel = None
    for _ in range(6):
        player = torch.randint(0, 2, (6,))
        assert torch.equal(rules.mask(player), plain.mask(player))
        equal(rules.observe(player), plain.observe(player))
        actions = any_legal(rules) if legal else torch.randint(0, 13, (2, 6, slots))
        which = torch.rand(6) < 0.9
        before = {name: value.clone() for name, value in rules.state.items()}
        held = rules.state
        payoff, ended = rules.play(actions, which)
        # A state that somebody keeps stays as it was.
        equal(held, before)
        expected_payoff, expected_ended = plain.play(actions, which)
        assert torch.equal(payoff, expected_payoff)
        assert torch.equal(ended, expected_ended)
        equal(rules.state, plain.state)
