"""Batches by number: the same whatever the start and the number of workers are."""

import gc
import multiprocessing
import os
import re
import signal
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from framework.data import LOST, LostWorker, batches, lost_workers_in_one_line, waiting
from framework.errors import UserError
from framework.training.folders.run_folder import RunFolder
from tests.runs import python


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


class Faulty(Numbers):
    """Item 4 goes wrong in the given way."""

    def __init__(self, fault: str) -> None:
        super().__init__(10)
        self.fault = fault

    def item(self, index: int, generator: torch.Generator) -> Any:
        if index == 4 and self.fault == "raises":
            raise ValueError("no picture\nin these bytes")
        if index == 4 and self.fault == "user":
            raise UserError("photo.jpg: damaged")
        if index == 4 and self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 4 and self.fault == "hangs":
            time.sleep(600)
        return torch.zeros(index + 1) if self.fault == "sizes" else super().item(index, generator)


def failure(fault: str, workers: int, timeout: float = 600.0) -> str:
    """What is said about the fault."""
    with pytest.raises(UserError) as error:
        list(islice(batches(Faulty(fault), 5, 7, 0, workers=workers, timeout=timeout), 2))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_item_is_told_in_one_line_with_its_number_and_place(workers, monkeypatch):
    # Torch waits five seconds for a worker to end, whenever its loader is collected.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    said = failure("raises", workers)
    assert said.startswith("item 4 of the data: ValueError: no picture (test_data.py, line ")
    assert failure("user", workers) == "photo.jpg: damaged"
    # The rest is torch's own, and another text in a worker.
    assert failure("sizes", workers).startswith("a batch of the data: RuntimeError: ")


@pytest.mark.slow
def test_a_killed_worker_is_told_in_one_line_with_the_remedy():
    said = failure("killed", 1)
    assert re.fullmatch(
        r"data: a worker was lost \(pid\(?s?\)? \d+\) .*; "
        r"with workers=0 \(the task's option\) the training's own process loads the data",
        said,
    ), said


def test_a_hanging_worker_is_given_up_after_the_time_out(monkeypatch):
    # Torch waits five seconds for a worker to end, whenever its loader is collected.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    said = failure("hangs", 1, timeout=0.5)
    gc.collect()
    assert said == (
        "data: a worker has made no batch after 0.5 seconds; the task's worker_timeout allows more; "
        "with workers=0 (the task's option) the training's own process loads the data"
    )


def test_a_lost_worker_is_noticed_where_a_batch_is_waited_for_and_not_in_a_step():
    """Elsewhere it could be raised between two parameters' updates."""
    before = set(multiprocessing.active_children())
    loading = batches(Numbers(40), 5, 7, 0, workers=1)
    next(loading)
    (worker,) = set(multiprocessing.active_children()) - before
    os.kill(worker.pid or 0, signal.SIGKILL)
    # A step under way: handlers of signals run between any two of its instructions.
    for _ in range(1000):
        time.sleep(0 if LOST else 0.01)
    assert len(LOST) == 1
    with pytest.raises(LostWorker, match=r"^data: a worker was lost .*Killed; with workers=0"):
        list(islice(loading, 9))
    assert LOST == []


def test_shared_memory_that_is_too_small_is_named():
    text = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ..."
    with pytest.raises(UserError) as error, lost_workers_in_one_line():
        raise RuntimeError(text)
    assert str(error.value) == (
        "data: a worker was lost (pid 7) is killed by signal: Bus error; the shared memory, /dev/shm, may be too "
        "small; with workers=0 (the task's option) the training's own process loads the data"
    )
    with pytest.raises(RuntimeError, match="of something else"), lost_workers_in_one_line():
        raise RuntimeError("of something else")


def test_lists_tensors_and_torch_data_sets_are_data_sets():
    images, labels = torch.arange(8.0).view(4, 2), torch.arange(4)
    pairs = list(zip(images, labels, strict=True))
    for dataset in ((images, labels), pairs, TensorDataset(images, labels)):
        some_images, some_labels = next(batches(dataset, 4, 3, 0))
        assert sorted(some_labels.tolist()) == [0, 1, 2, 3]
        assert torch.equal(some_images, images[some_labels])
    assert sorted(next(batches(labels, 4, 3, 0)).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (DataLoader([1, 2]), "data: a DataLoader has an order of its own, .*loader.dataset"),  # type: ignore[arg-type]
        ((torch.zeros(3), torch.zeros(2)), "data: a tuple is expected to hold tensors of one"),
        ((1, 2), "data: a tuple is expected to hold tensors of one length"),
        (7, r"data: int given; expected an object with __len__ and item\(index, generator\)"),
        ({"a": 1}, "data: dict given"),
        ([], "data: the data set is empty"),
    ],
)
def test_what_is_no_data_set_is_refused_before_the_first_batch(dataset, message):
    with pytest.raises(UserError, match=message) as error:
        batches(dataset, 2, 0, 0)
    assert "\n" not in str(error.value)


ORPHANS = """
import sys, time
from pathlib import Path
import torch
from framework.data import batches
from framework.training.folders.run_folder import RunFolder

class Slow:
    def __len__(self): return 4
    def item(self, index, generator):
        import os
        Path(sys.argv[1], "worker").write_text(str(os.getpid()))
        time.sleep(600)

folder = RunFolder(Path(sys.argv[1]) / "run")
folder.open()
next(batches(Slow(), 2, 0, 0, workers=1))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_after_a_kill_of_the_training_no_worker_lives_and_the_folder_is_free(tmp_path):
    process = python("-c", ORPHANS, str(tmp_path), cwd=tmp_path)
    place = tmp_path / "worker"
    while not (place.exists() and place.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    process.communicate()
    worker = Path("/proc", place.read_text(), "stat")
    # A zombie is dead, too: nobody may have asked for its status yet.
    while worker.exists() and worker.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.05)
    with RunFolder(tmp_path / "run").held():
        pass


def test_a_forked_child_does_not_hold_the_folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open()
    go, let_go = os.pipe()
    runs, say_so = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(let_go)
        os.write(say_so, b".")
        os.read(go, 1)
        os._exit(0)
    os.close(go)
    folder.close()
    # `fork` may return here before the child has run its handlers.
    os.read(runs, 1)
    try:
        with RunFolder(tmp_path / "run").held():
            pass
    finally:
        os.close(let_go)
        os.waitpid(child, 0)
        os.close(runs)
        os.close(say_so)


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()]
)
def test_a_worker_that_is_lost_as_it_hands_over_a_batch_is_told_in_one_line(error):
    loader = DataLoader(TensorDataset(torch.zeros(4)), num_workers=1)
    with (
        pytest.raises(LostWorker, match="as it handed over a batch; with workers=0"),
        waiting(loader),
    ):
        raise error
    with pytest.raises(type(error)), waiting(DataLoader(TensorDataset(torch.zeros(4)))):
        raise error
