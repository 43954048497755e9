"""Tensors exchanged by the processes of one machine through memory that they share, in microseconds.

Sockets wake a sleeping thread at each end, which costs as much as a layer of a small network. Here a process writes
its tensor and then its number of exchanges, and reads the others' tensors as soon as their numbers say so. That needs
stores which other cores see in order: those of x86.
"""

from __future__ import annotations

import mmap
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

# Bytes of the largest tensor.
CAPACITY = 2**22
# Where a process's part of the head has what, in words of 8 bytes; a line of the cache for each process.
LINE, EXCHANGES, LEFT, PROCESS, BYTES = 8, 0, 1, 2, 3
# Looks at another's number before this process lets others have its core, and before it sleeps in between: a tenth of a
# millisecond, and ten of them. Any sleep takes that long.
EAGER, PATIENT = 2_000, 20_000
NAP = 1e-4


class Lost(RuntimeError):
    """Another process has left, or does not come."""


class SharedMemory:
    """One process's view.

    A tensor stays where it was written during the next exchange, as there are two slots for each process: who begins
    the exchange after that has seen all others begin the next, so they have read it.
    """

    def __init__(self, file: Path, rank: int, size: int, seconds: float) -> None:
        """Map what `reserved` has made.

        Args:
            seconds: how long to wait for the others.
        """
        self.rank, self.size, self.seconds = rank, size, seconds
        self.exchanges = 0
        with file.open("r+b") as opened:
            self.memory = mmap.mmap(opened.fileno(), total_bytes(size))
        head = 8 * LINE * size
        self.words = memoryview(self.memory)[:head].cast("q")
        slots = torch.frombuffer(self.memory, dtype=torch.uint8, offset=head)
        self.slots = slots.view(2, size, CAPACITY)
        self.words[LINE * rank + PROCESS] = os.getpid()

    def gather(self, values: Tensor) -> list[Tensor]:
        """Every process's tensor, in order; contiguous ones of one shape and kind, of `CAPACITY` bytes at most.

        Raises:
            Lost: another has left, does not come in time, or gives another number of bytes.
        """
        self.exchanges += 1
        turn = self.exchanges % 2
        count, own = values.nbytes, LINE * self.rank
        self.slots[turn, self.rank, :count] = values.view(-1).view(torch.uint8)
        self.words[own + BYTES + turn] = count
        self.words[own + EXCHANGES] = self.exchanges
        found = []
        for other in range(self.size):
            if other == self.rank:
                found.append(values)
                continue
            self.wait(other)
            if self.words[LINE * other + BYTES + turn] != count:
                raise Lost(f"process {other} sends {self.words[LINE * other + BYTES + turn]} bytes")
            slot = self.slots[turn, other, :count].clone()
            found.append(slot.view(values.dtype).view(values.shape))
        return found

    def wait(self, other: int) -> None:
        """Until another process has begun this exchange."""
        words, place, looks, end = self.words, LINE * other, 0, 0.0
        while words[place + EXCHANGES] < self.exchanges:
            looks += 1
            if looks < EAGER:
                continue
            if looks < PATIENT:
                os.sched_yield()
            else:
                time.sleep(NAP)
            if looks % EAGER:
                continue
            end = end or time.monotonic() + self.seconds
            gone = words[place + LEFT] or not alive(words[place + PROCESS])
            # What it left with may have been this exchange.
            if gone and words[place + EXCHANGES] < self.exchanges:
                raise Lost(f"process {other} has left")
            if time.monotonic() > end:
                raise Lost(f"process {other} has not come for {self.seconds:.0f} s")

    def leave(self) -> None:
        """Let the others know that this process exchanges no more."""
        self.words[LINE * self.rank + LEFT] = 1


def total_bytes(size: int) -> int:
    """Bytes of a file for `size` processes."""
    return size * (8 * LINE + 2 * CAPACITY)


@contextmanager
def reserved(size: int) -> Iterator[Path | None]:
    """Memory for `size` processes, to be mapped inside the block; None where the machine has none, or too little.

    It has a place of its maker's, and no name of its own: nothing stays of it when the processes end, whatever ends
    them and whenever.
    """
    if platform.machine() not in {"x86_64", "AMD64"} or not hasattr(os, "memfd_create"):
        yield None
        return
    try:
        descriptor = os.memfd_create("diffobj")
    except OSError:
        yield None
        return
    try:
        yield place_of(descriptor) if has_room(descriptor, total_bytes(size)) else None
    finally:
        os.close(descriptor)


def place_of(descriptor: int) -> Path:
    """Where other processes find what this one has open."""
    return Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def has_room(descriptor: int, count: int) -> bool:
    """Reserve so many bytes: a write into memory that is not there would kill the process."""
    try:
        os.posix_fallocate(descriptor, 0, count)
    except OSError:
        return False
    return True


def alive(process: int) -> bool:
    """Whether a process of this machine runs; one that has not yet said which it is may."""
    try:
        os.kill(process, 0) if process else None
    except ProcessLookupError:
        return False
    return True
