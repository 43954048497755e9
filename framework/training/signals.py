"""Signals: the first one stops a training between two steps, which saves; the second one ends it at once.

While a step waits for its first batch from a worker, which may hang, or between two steps something long goes on that
changes nothing, such as an evaluation of games, the first one ends it. The second one saves,
too, unless it comes in the middle of a step.

SIGCONT, after SIGSTOP or Ctrl-Z, restarts the clock of the training.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from framework import ranks
from framework.data import waits_for_worker

# Where the training is: between two steps, fetching a step's first batch before anything has changed, or anywhere else.
Phase = Literal["between", "fetching", "within"]


class Interrupted(KeyboardInterrupt):
    """A signal that ends the training where it is.

    Attributes:
        number: the signal's.
        first: whether it is the first one, which came while a step waited for a worker.
        between: whether no step was under way, so that what the training holds can be saved.
    """

    def __init__(self, number: int, *, first: bool = False, between: bool = False) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.first, self.between = number, first, between


class StopSignals:
    """Which signal has asked the training to stop.

    Args:
        on_continue: called when the process was stopped and goes on.

    Attributes:
        come: the first that this process was sent.
        agreed: of several processes, what all of them act on since they last agreed; one that comes meanwhile waits.
    """

    def __init__(self, on_continue: Callable[[], None]) -> None:
        self.come: int | None = None
        self.agreed: int | None = None
        self.phase: Phase = "within"
        self.on_continue = on_continue

    @property
    def received(self) -> int | None:
        """The signal that the training acts on."""
        return self.come if self.agreed is None and ranks.size() == 1 else self.agreed

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Listen inside the block. Outside the main thread nothing is changed, and what is ignored stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
        # nohup ignores SIGHUP.
        handled_signals = [
            number for number in signals if signal.getsignal(number) != signal.SIG_IGN
        ]
        before = {number: signal.signal(number, self.on_signal) for number in handled_signals}
        before[signal.SIGCONT] = signal.signal(signal.SIGCONT, lambda *_: self.on_continue())
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def comes(self, seconds: float = 1.0) -> bool:
        """Whether one has come, or comes within some time."""
        until = time.monotonic() + seconds
        while self.come is None and time.monotonic() < until:
            time.sleep(0.01)
        # For a training that ends where it is.
        self.agreed = self.come
        return self.come is not None

    def on_signal(self, number: int, frame: Any) -> None:
        first = self.come is None
        if first:
            self.come = number
        waits = self.phase != "within" and waits_for_worker()
        if waits or not first:
            # It leaves the others.
            self.agreed = self.come
            raise Interrupted(number, first=first, between=waits or self.phase == "between")
