"""The time that a training takes: over all its sessions, without evaluations and without time that it was stopped."""

from __future__ import annotations

import time


class TrainingClock:
    """Counts seconds by the monotonic clock, which nobody can set."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.since = time.monotonic()

    def lap(self) -> float:
        """Count the time since the last call of anything here; returns all that was counted."""
        now = time.monotonic()
        self.seconds += now - self.since
        self.since = now
        return self.seconds

    def restart(self) -> None:
        """Count from here on: what was since then is no training time."""
        self.since = time.monotonic()
