"""The log of finished episodes: returns, lengths, and where the time goes."""

from __future__ import annotations

import time

from plugins.games.environments.games import Games

RECENT = 100  # episodes over which returns are averaged for the log


class Stopwatch:
    """How long a record takes, and how much of it the games themselves."""

    def __init__(self, games: Games) -> None:
        self.games = games
        self.before = games.seconds
        self.began = time.monotonic()

    def stop(self) -> tuple[float, float]:
        """Seconds in all, and those of the games."""
        return time.monotonic() - self.began, self.games.seconds - self.before
