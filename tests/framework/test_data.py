"""Batches by number: the same whatever the start and the number of workers are."""

from collections import Counter
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from framework.data import batches


class Numbers:
    """Item i is i, and a draw of its own."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def item(self, index: int, generator: torch.Generator) -> tuple[int, Tensor]:
        return index, torch.rand((), generator=generator)


def first(
    count: int, *, length: int = 10, size: int = 3, start: int = 0, workers: int = 0
) -> list[Any]:
    made = batches(Numbers(length), size, 7, start, workers=workers)
    return [(numbers.tolist(), draws.tolist()) for numbers, draws in islice(made, count)]


@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 7, 100])
def test_a_batch_is_the_same_whatever_the_start(start):
    assert first(3, start=start) == first(start + 3)[start:]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_is_the_same_for_any_number_of_workers(workers):
    assert first(7, workers=workers, start=2) == first(7, start=2)


def test_an_epoch_has_no_item_twice_and_leaves_the_incomplete_batch_out():
    for epoch in range(3):
        chosen = Counter(i for numbers, _ in first(3, start=3 * epoch) for i in numbers)
        assert len(chosen) == 9
        assert set(chosen.values()) == {1}


def test_each_epoch_has_its_own_order_and_augmentation():
    epochs = [first(3, start=3 * epoch) for epoch in range(3)]
    orders = [[i for numbers, _ in epoch for i in numbers] for epoch in epochs]
    assert orders[0] != orders[1] != orders[2]
    draws = [dict(zip(*map(sum_lists, zip(*epoch, strict=True)), strict=True)) for epoch in epochs]
    both = draws[0].keys() & draws[1].keys()
    assert all(draws[0][i] != draws[1][i] for i in both)


def sum_lists(lists: Any) -> list[Any]:
    return [item for part in lists for item in part]


def test_a_data_set_smaller_than_a_batch_is_one_batch():
    assert sorted(first(1, length=2, size=5)[0][0]) == [0, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_draws_nothing_from_the_runs_own_stream(workers):
    torch.manual_seed(3)
    untouched = torch.rand(2)
    torch.manual_seed(3)
    first(2, workers=workers)
    assert torch.equal(torch.rand(2), untouched)


def test_another_seed_is_another_order():
    a = next(batches(Numbers(50), 50, 1, 0))[0].tolist()
    b = next(batches(Numbers(50), 50, 2, 0))[0].tolist()
    assert a != b
