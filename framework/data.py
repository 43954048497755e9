"""Batches of a data set by number: keyed order, keyed augmentation, the same for any number of workers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from framework.randomness import generator


class KeyedDataset(Protocol):
    """A data set whose items may be augmented: randomness comes from the generator and from nowhere else."""

    def __len__(self) -> int: ...

    def item(self, index: int, generator: torch.Generator) -> Any:
        """Item `index`, augmented with draws from `generator`."""


class Keyed(Dataset[Any]):
    """Gives each (epoch, index) its own generator, whichever worker loads it."""

    def __init__(self, dataset: KeyedDataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, place: tuple[int, int]) -> Any:
        epoch, index = place
        return self.dataset.item(index, generator(self.seed, "augmentation", epoch, index))


class Order(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) from batch number `start` on, without end; each epoch has its own keyed order."""

    def __init__(self, length: int, batch_size: int, seed: int, start: int) -> None:
        self.length, self.batch_size, self.seed, self.start = length, batch_size, seed, start
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
                yield [(epoch, index) for index in chosen]
                number += 1


def batches(
    dataset: KeyedDataset,
    batch_size: int,
    seed: int,
    start: int,
    *,
    workers: int = 0,
    collate: Any = None,
) -> Iterator[Any]:
    """Shuffled batches from number `start` on, without end; an epoch's incomplete last batch is dropped.

    Batch number k is the same whatever `start` and `workers` are, so that a resumed run sees what an uninterrupted one
    would have seen.
    """
    loader = DataLoader(
        Keyed(dataset, seed),
        batch_sampler=Order(len(dataset), batch_size, seed, start),
        num_workers=workers,
        # The loader draws one number when it begins: not from the run's stream.
        generator=torch.Generator(),
        collate_fn=collate,
        worker_init_fn=begin_worker if workers else None,
    )
    yield from loader


def begin_worker(worker: int) -> None:
    """One thread, for workers share the machine; and Ctrl-C is for the trainer, which ends its workers itself."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
