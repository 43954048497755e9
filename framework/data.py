"""Batches of a data set by number: keyed order, keyed augmentation, the same for any number of workers."""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from framework import ranks
from framework.errors import UserError
from framework.randomness import generator

# What torch's errors about lost workers begin with.
LOST_WORKER = "DataLoader worker"
TIMED_OUT = "DataLoader timed out"
# The remedy.
NO_WORKERS = "with workers=0 (the task's option) the training's own process loads the data"
# prctl's option PR_SET_PDEATHSIG: the signal that a process gets when its parent dies.
PARENT_DEATH_SIGNAL = 1

# The loaders of this process that wait for a worker now, and what else a signal may end.
WAITING: set[int] = set()
# Workers that were lost while nothing waited for one.
LOST: list[RuntimeError] = []


class LostWorker(UserError):
    """A worker was killed or hangs; it is raised only where a batch of it is waited for."""


def waits_for_worker() -> bool:
    """Whether a batch is being waited for that a worker makes, or something else goes on that a signal may end."""
    return bool(WAITING)


class KeyedDataset(Protocol):
    """A data set whose items may be augmented: randomness comes from the generator and from nowhere else."""

    def __len__(self) -> int: ...

    def item(self, index: int, generator: torch.Generator) -> Any:
        """Item `index`, augmented with draws from `generator`."""


class Indexed:
    """A list, a torch data set or tensors of one length as a data set without augmentation."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items[0]) if isinstance(self.items, tuple) else len(self.items)

    def item(self, index: int, generator: torch.Generator) -> Any:
        if isinstance(self.items, tuple):
            return tuple(part[index] for part in self.items)
        return self.items[index]


def keyed_dataset(dataset: Any) -> KeyedDataset:
    """What `batches` was given, as a data set.

    Raises:
        UserError: it is none, or empty.
    """
    found: Any = None
    if isinstance(dataset, DataLoader):
        raise UserError(
            "data: a DataLoader has an order of its own, which a resumed run could not repeat; give its data set "
            "(loader.dataset), the batch size and the workers to framework.data.batches"
        )
    if isinstance(dataset, tuple):
        lengths = [len(part) for part in dataset if hasattr(part, "__len__") and is_array(part)]
        if len(lengths) != len(dataset) or len(set(lengths)) != 1:
            raise UserError(
                "data: a tuple is expected to hold tensors of one length, such as (images, labels); "
                "give single items as a list"
            )
        found = Indexed(dataset)
    elif not is_array(dataset) and callable(getattr(dataset, "item", None)):
        found = dataset
    elif hasattr(dataset, "__getitem__") and not isinstance(dataset, Mapping | str | bytes):
        found = Indexed(dataset)
    if found is None or not hasattr(found, "__len__") or not hasattr(dataset, "__len__"):
        raise UserError(
            f"data: {type(dataset).__name__} given; expected an object with __len__ and item(index, generator), "
            "a torch data set, a list of items, or a tuple of tensors of one length"
        )
    if len(found) == 0:
        raise UserError("data: the data set is empty")
    return cast(KeyedDataset, found)


def is_array(value: Any) -> bool:
    """Whether it is a tensor or an array of numpy's, which have an `item` of another kind."""
    return isinstance(value, Tensor) or hasattr(value, "__array_interface__")


@dataclass(frozen=True)
class Failed:
    """An item or a batch that could not be made; `text` says why, in one line."""

    text: str


class Keyed(Dataset[Any]):
    """Gives each (epoch, index) its own generator, whichever worker loads it."""

    def __init__(self, dataset: KeyedDataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, place: tuple[int, int]) -> Any:
        epoch, index = place
        # From a worker, an exception would come as two tracebacks in one.
        try:
            return self.dataset.item(index, generator(self.seed, "augmentation", epoch, index))
        except Exception as error:
            return Failed(explained(f"item {index} of the data", error))


class Collate:
    """Makes a batch of items, unless one of them has failed."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate or default_collate

    def __call__(self, items: list[Any]) -> Any:
        for item in items:
            if isinstance(item, Failed):
                return item
        try:
            return self.collate(items)
        except Exception as error:
            return Failed(explained("a batch of the data", error))


def explained(what: str, error: Exception) -> str:
    """An error in one line: a user's mistake in its own words, any other with the place where it was raised."""
    if isinstance(error, UserError):
        return str(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = (
        ""
        if trace is None
        else f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
    )
    first = str(error).strip().partition("\n")[0]
    return f"{what}: {type(error).__name__}: {first}{place}"


class Order(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) from batch number `start` on, without end; each epoch has its own keyed order.

    Args:
        divided: of several processes each gets its part of every batch; else all get the whole, and divide it later.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int, start: int, *, divided: bool = True
    ) -> None:
        self.length, self.batch_size, self.seed, self.start = length, batch_size, seed, start
        self.divided = divided
        self.batches_per_epoch = max(1, length // batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        number = self.start
        while True:
            epoch, first = divmod(number, self.batches_per_epoch)
            order = torch.randperm(
                self.length, generator=generator(self.seed, "order", epoch)
            ).tolist()
            for place in range(first, self.batches_per_epoch):
                chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
                own = ranks.part(len(chosen)) if self.divided else slice(None)
                yield [(epoch, index) for index in chosen[own]]
                number += 1


def batches(
    dataset: Any,
    batch_size: int,
    seed: int,
    start: int,
    *,
    workers: int = 0,
    collate: Any = None,
    timeout: float = 600.0,
) -> Iterator[Any]:
    """Shuffled batches from number `start` on, without end; an epoch's incomplete last batch is dropped.

    Of several processes that train together each gets its part of every batch.

    Batch number k is the same whatever `start` and `workers` are, so that a resumed run sees what an uninterrupted one
    would have seen.

    Args:
        dataset: a `KeyedDataset`; or, without augmentation, a torch data set, a list of items, or a tuple of tensors
            of one length.
        workers: processes that load items; 0: the training's own.
        collate: makes a batch of a list of items; None: torch's way.
        timeout: seconds that a batch may take the workers.

    Raises:
        UserError: no data set, an item that cannot be made, or a worker that was killed or hangs; one line.
    """
    keyed = keyed_dataset(dataset)
    if min(batch_size, len(keyed)) < ranks.size():
        raise UserError(
            f"batch_size = {min(batch_size, len(keyed))}: fewer data in a batch than the {ranks.size()} processes"
        )
    loader = DataLoader(
        Keyed(keyed, seed),
        batch_sampler=Order(len(keyed), batch_size, seed, start),
        num_workers=workers,
        # The loader draws one number when it begins: not from the run's stream.
        generator=torch.Generator(),
        collate_fn=Collate(collate),
        worker_init_fn=begin_worker if workers else None,
        timeout=timeout if workers else 0,
    )
    return loaded(loader)


def loaded(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of a loader.

    Raises:
        UserError: see `batches`.
    """
    with lost_workers_in_one_line():
        iterator = iter(loader)
    if loader.num_workers:
        Deferred.install()
        # Once, and before multiprocessing's own end, which comes in the opposite order of registration.
        atexit.unregister(kill_workers)
        atexit.register(kill_workers)
    while True:
        with lost_workers_in_one_line(), waiting(loader):
            batch = next(iterator, None)
        if isinstance(batch, Failed):
            raise UserError(batch.text)
        yield batch


@contextmanager
def waiting(loader: DataLoader[Any]) -> Iterator[None]:
    """Let signals know, inside the block, that nothing happens but waiting, where the loader has workers."""
    if not loader.num_workers:
        yield
        return
    WAITING.add(id(loader))
    try:
        if LOST:
            raise LOST.pop()
        yield
    except (ConnectionError, EOFError):
        # Mistakes of the items themselves are told by the workers, and this is none.
        raise LostWorker(
            f"data: a worker was lost as it handed over a batch; {NO_WORKERS}"
        ) from None
    finally:
        WAITING.discard(id(loader))


class Deferred:
    """A handler of SIGCHLD that reports a lost worker when a batch is waited for, and not in the middle of a step.

    torch's own raises wherever the main thread is, such as between two parameters' updates.
    """

    def __init__(self, handler: Callable[[int, Any], Any]) -> None:
        self.handler = handler

    @classmethod
    def install(cls) -> None:
        """Put it in the place of torch's, once; elsewhere than in the main thread there is none."""
        handler = signal.getsignal(signal.SIGCHLD)
        main = threading.current_thread() is threading.main_thread()
        if main and callable(handler) and not isinstance(handler, cls):
            signal.signal(signal.SIGCHLD, cls(handler))

    def __call__(self, number: int, frame: Any) -> None:
        try:
            self.handler(number, frame)
        except RuntimeError as error:
            if WAITING or not str(error).startswith(LOST_WORKER):
                raise
            LOST.append(error)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the first signal of a training end the block, which may take long and changes nothing that is saved."""
    mark = object()
    WAITING.add(id(mark))
    try:
        yield
    finally:
        WAITING.discard(id(mark))


@contextmanager
def lost_workers_in_one_line() -> Iterator[None]:
    """Say in one line that a worker was killed or hangs; torch may notice it at any place in the main thread.

    Raises:
        LostWorker: names the remedy.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).strip().partition("\n")[0]
        if text.startswith(TIMED_OUT):
            seconds = text.removeprefix(TIMED_OUT).strip()
            raise LostWorker(
                f"data: a worker has made no batch {seconds}; the task's worker_timeout allows more; {NO_WORKERS}"
            ) from None
        if not text.startswith(LOST_WORKER):
            raise
        shared = "; the shared memory, /dev/shm, may be too small" if "Bus error" in text else ""
        how = text.removeprefix(LOST_WORKER).partition(". ")[0].strip().rstrip(".")
        raise LostWorker(f"data: a worker was lost {how}{shared}; {NO_WORKERS}") from None


def begin_worker(worker: int) -> None:
    """One thread, for workers share the machine; and Ctrl-C is for the trainer, which ends its workers itself."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    end_with_parent()


def leave(number: int, frame: Any) -> None:
    """End a worker by an exception: killed where it stands, it might keep a lock that the trainer needs to end."""
    raise SystemExit(128 + number)


def kill_workers() -> None:
    """Kill what is left of the workers at the end of the process, which would wait for one that hangs."""
    for process in multiprocessing.active_children():
        process.kill()


def end_with_parent() -> None:
    """Let this process be killed when the one that started it dies, whatever kills that one (on Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, int(signal.SIGKILL))
    parent = multiprocessing.parent_process()
    # It may have died just before.
    if parent is not None and parent.pid != os.getppid():
        os._exit(1)
