"""Tensors exchanged through shared memory: each process has all, in order; a process that leaves is noticed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from framework.shared_memory import (
    CAPACITY,
    LINE,
    PROCESS,
    Lost,
    SharedMemory,
    reserved,
    total_bytes,
)

COUNT = 3


@pytest.fixture
def views() -> list[SharedMemory]:
    """Of three processes, here of three threads."""
    with reserved(COUNT) as place:
        if place is None:
            pytest.skip("this machine has no memory to share")
        return [SharedMemory(place, rank, COUNT, seconds=60.0) for rank in range(COUNT)]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4)])
def test_each_has_what_all_have(
    views: list[SharedMemory], kind: torch.dtype, shape: tuple[int, ...]
) -> None:
    given = [torch.full(shape, rank).to(kind) for rank in range(COUNT)]
    with ThreadPoolExecutor(COUNT) as threads:
        for found in threads.map(SharedMemory.gather, views, given):
            for own, expected in zip(found, given, strict=True):
                assert own.dtype == kind
                assert torch.equal(own, expected)


def test_no_exchange_reads_another(views: list[SharedMemory]) -> None:
    """Some are always slower than the others; sizes change between exchanges."""

    def exchanged(view: SharedMemory) -> list[list[float]]:
        made = torch.Generator().manual_seed(view.rank)
        sums = []
        for turn in range(200):
            # Work of a length of its own.
            torch.rand(int(torch.randint(20_000, (), generator=made)))
            found = view.gather(torch.full((1 + turn % 7,), float(1000 * turn + view.rank)))
            sums.append([float(each.mean()) for each in found])
        return sums

    with ThreadPoolExecutor(COUNT) as threads:
        for found in threads.map(exchanged, views):
            assert found == [[1000 * turn + rank for rank in range(COUNT)] for turn in range(200)]


def test_the_largest_tensor_fits(views: list[SharedMemory]) -> None:
    given = [torch.full((CAPACITY,), rank, dtype=torch.uint8) for rank in range(COUNT)]
    with ThreadPoolExecutor(COUNT) as threads:
        for found in threads.map(SharedMemory.gather, views, given):
            assert [int(each.min()) for each in found] == [0, 1, 2]
            assert [int(each.max()) for each in found] == [0, 1, 2]


def test_what_one_gave_before_it_left_arrives(views: list[SharedMemory]) -> None:
    first, *others = views
    with ThreadPoolExecutor(COUNT) as threads:
        waiting = [threads.submit(view.gather, torch.ones(2)) for view in others]
        first.gather(torch.ones(2))
        first.leave()
        assert all(len(each.result()) == COUNT for each in waiting)


def test_a_process_that_has_left_is_not_waited_for(views: list[SharedMemory]) -> None:
    views[1].leave()
    with pytest.raises(Lost, match="process 1 has left"):
        views[0].gather(torch.ones(2))


def test_a_process_that_has_died_is_not_waited_for(views: list[SharedMemory]) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    views[0].words[LINE + PROCESS] = ended.pid
    with pytest.raises(Lost, match="process 1 has left"):
        views[0].gather(torch.ones(2))


def test_a_process_that_does_not_come_is_not_waited_for_forever(views: list[SharedMemory]) -> None:
    views[0].seconds = 0.1
    with pytest.raises(Lost, match="process 1 has not come"):
        views[0].gather(torch.ones(2))


def test_tensors_of_other_sizes_are_not_mixed_up(views: list[SharedMemory]) -> None:
    given = [torch.ones(2), torch.ones(3), torch.ones(2)]
    with ThreadPoolExecutor(COUNT) as threads:
        made = [threads.submit(view.gather, own) for view, own in zip(views, given, strict=True)]
        for one in made:
            with pytest.raises(Lost, match="bytes"):
                one.result()


def test_a_machine_without_room_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with reserved(2) as place:
        assert place is None


def test_another_process_maps_it_and_nothing_of_it_has_a_name() -> None:
    before = set(Path("/dev/shm").iterdir())
    mapping = """
import sys, torch
from pathlib import Path
from framework.shared_memory import SharedMemory
SharedMemory(Path(sys.argv[1]), 1, 2, 60.0).gather(torch.tensor([7.0]))
"""
    with reserved(2) as place:
        if place is None:
            pytest.skip("this machine has no memory to share")
        own = SharedMemory(place, 0, 2, seconds=60.0)
        assert set(Path("/dev/shm").iterdir()) <= before
        other = subprocess.Popen([sys.executable, "-c", mapping, str(place)])
        assert [float(each) for each in own.gather(torch.tensor([3.0]))] == [3.0, 7.0]
        assert other.wait() == 0
    assert not place.exists()


def test_the_file_has_room_for_two_slots_of_each() -> None:
    assert total_bytes(2) == 2 * (64 + 2 * CAPACITY)
