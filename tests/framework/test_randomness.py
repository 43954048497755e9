"""Keyed randomness: streams belong to their names, and blocks leave the outer stream alone."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from framework.randomness import fresh_key, generator, key, seed_torch, seeded

PLACE = some.tuples(
    some.integers(0, 2**31 - 1),
    some.text(max_size=8),
    some.integers(0, 10**6),
    some.integers(0, 10**6),
)


def test_a_key_is_the_same_on_every_machine():
    assert key(0, "training", 3) == key(0, "training", 3, 0) == 586379576476119846


@settings(max_examples=50, deadline=None)
@given(PLACE, PLACE)
def test_different_places_have_different_keys(a, b):
    assert (key(*a) == key(*b)) == (a == b)
    assert 0 <= key(*a) < 2**63


def test_a_generator_draws_the_same_numbers_whatever_was_drawn_before():
    torch.rand(7)
    first = torch.rand(4, generator=generator(1, "order", 2))
    torch.rand(3)
    assert torch.equal(first, torch.rand(4, generator=generator(1, "order", 2)))
    assert not torch.equal(first, torch.rand(4, generator=generator(1, "order", 3)))


def test_a_seeded_block_is_reproducible_and_leaves_the_outer_stream_where_it_was():
    seed_torch(5)
    plain = torch.rand(6)
    seed_torch(5)
    before = torch.rand(3)
    with seeded(9):
        inside = torch.rand(3)
    after = torch.rand(3)
    assert torch.equal(torch.cat([before, after]), plain)
    with seeded(9):
        assert torch.equal(torch.rand(3), inside)


def test_a_block_seeded_with_none_draws_from_the_outer_stream():
    seed_torch(5)
    plain = torch.rand(2)
    seed_torch(5)
    with seeded(None):
        assert torch.equal(torch.rand(2), plain)


def test_the_stream_comes_back_also_when_the_block_raises():
    seed_torch(5)
    plain = torch.rand(2)
    seed_torch(5)
    try:
        with seeded(9):
            torch.rand(1)
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.rand(2), plain)


def test_fresh_keys_follow_the_stream():
    seed_torch(5)
    first = [fresh_key(), fresh_key()]
    seed_torch(5)
    assert [fresh_key(), fresh_key()] == first
    assert first[0] != first[1]
