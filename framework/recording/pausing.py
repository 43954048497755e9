"""What torch's modes that look at a program's operations have in common: they can be paused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Pausable:
    """A mode that looks at nothing while it is paused."""

    paused = False

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Look at nothing in the block."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before
