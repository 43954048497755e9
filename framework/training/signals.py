"""Signals: the first one stops a training between two steps, which saves; the second one ends it at once.

SIGCONT, after SIGSTOP or Ctrl-Z, restarts the clock of the training.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A second signal; `number` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignals:
    """Which signal has asked the training to stop.

    Args:
        on_continue: called when the process was stopped and goes on.
    """

    def __init__(self, on_continue: Callable[[], None]) -> None:
        self.received: int | None = None
        self.on_continue = on_continue

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

    def on_signal(self, number: int, frame: Any) -> None:
        if self.received is not None:
            raise Interrupted(number)
        self.received = number
