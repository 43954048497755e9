"""Waiting for a device: an accelerator works through a queue, and to read a number is to wait until the queue is empty.

Between two logs a training reads nothing from such a device. What has to be checked in every step is noted there, and
looked at when the log is read: where something was wrong, the check is made in full, and waits, the next time.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Noted(threading.local):
    """What this thread has noted and not yet read.

    Attributes:
        deferring: whether checks wait for the log.
        flags: whether something was wrong, by check.
        found: the checks in which something was.
    """

    def __init__(self) -> None:
        self.deferring = False
        self.flags: dict[Hashable, Tensor] = {}
        self.found: set[Hashable] = set()


NOTED = Noted()


def queues(device: torch.device) -> bool:
    """Whether a device works through a queue."""
    return device.type != "cpu"


@contextmanager
def deferred(device: torch.device) -> Iterator[None]:
    """Inside the block checks on a device with a queue are deferred until `read`."""
    before = NOTED.deferring
    NOTED.deferring = queues(device)
    try:
        yield
    finally:
        NOTED.deferring = before
        NOTED.flags.clear()
        NOTED.found.clear()


def deferring() -> bool:
    """Whether checks are deferred here."""
    return NOTED.deferring


def suspicious(check: Hashable, wrong: Tensor) -> bool:
    """Whether any of `wrong` is true; where checks are deferred, whether any was before the latest `read`."""
    if not NOTED.deferring:
        return bool(wrong.any())
    flag, before = wrong.any(), NOTED.flags.get(check)
    NOTED.flags[check] = flag if before is None else before | flag
    return check in NOTED.found


def read() -> None:
    """Look at what was noted: one wait for all of it."""
    if NOTED.flags:
        wrong = torch.stack([*NOTED.flags.values()]).tolist()
        NOTED.found |= {check for check, found in zip(NOTED.flags, wrong, strict=True) if found}
        NOTED.flags.clear()
