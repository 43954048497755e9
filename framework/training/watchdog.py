"""A watchdog over several processes that train together: one that hangs would let all others wait."""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager

from framework import ranks

# The descriptor: `sys.stderr` may be anything.
STANDARD_ERROR = 2


class Watchdog:
    """Ends the process, with the stacks of all its threads, where a step does not end.

    Args:
        minutes: how long a step may take.
    """

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self.watches = ranks.processes() > 1 and ranks.first_here()
        self.armed = 0.0
        self.begun = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch inside the block, from the second `step` on: before the first one's end data are made, or read."""
        try:
            yield
        finally:
            self.disarm()

    def step(self) -> None:
        """A step begins. To arm it takes longer than many a step does, so that it is done now and then."""
        if (
            self.watches
            and self.begun
            and time.monotonic() - self.armed > min(1.0, self.seconds / 10)
        ):
            self.arm()
        self.begun = True

    def arm(self) -> None:
        self.armed = time.monotonic()
        # A thread of its own, which needs no Python: the process may hang inside a library.
        faulthandler.dump_traceback_later(self.seconds, exit=True, file=STANDARD_ERROR)

    def disarm(self) -> None:
        if self.watches:
            faulthandler.cancel_dump_traceback_later()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let the block take as long as it takes: evaluations and pictures, for which the others wait."""
        self.disarm()
        try:
            yield
        finally:
            if self.armed:
                self.arm()
