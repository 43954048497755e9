"""The log of finished episodes: returns, lengths, and where the time goes."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from framework import ranks
from framework.config.types import CountOrZero
from framework.curve import Curve
from framework.saved_state import check_saved
from plugins.games.ended import RECENT, EndedEpisodes
from plugins.games.environments.games import Games


@dataclass(frozen=True)
class Timing:
    """When steps were played, and for how long: in all, and in the environments alone, in seconds."""

    started: float
    seconds: float
    environment: float


class Stopwatch:
    """How long it takes to collect a rollout, and how much of that the environments take."""

    def __init__(self, games: Games) -> None:
        self.games = games
        self.environment_before = games.seconds
        self.started = time.monotonic()

    def stop(self) -> Timing:
        return Timing(
            self.started,
            time.monotonic() - self.started,
            self.games.seconds - self.environment_before,
        )


class EpisodeLog:
    """Episode statistics and speeds of one training.

    Attributes:
        curve: the learning curve: (environment steps so far, mean return of the episodes that ended in a rollout).
        recent: return and length of the latest `RECENT` episodes.
        scalars: what to log now, by tag.
        steps: environment steps of this training so far.
        unread: episodes whose numbers have not been looked at yet.
    """

    def __init__(self) -> None:
        self.curve = Curve[tuple[int, float]](2)
        self.recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self.scalars: dict[str, float] = {}
        self.steps = 0
        self.unread: list[tuple[EndedEpisodes, Timing]] = []
        # When the latest rollout was complete, and the seconds of evaluation since then.
        self.learning_since: float | None = None
        self.evaluation_seconds = 0.0

    def add_later(self, episodes: EndedEpisodes, timing: Timing) -> None:
        """Note episodes without looking at a number of theirs; `settle` counts them."""
        self.unread.append((episodes, timing))

    def settle(self) -> None:
        """Count the episodes that were noted; where one of several processes asks, later, when all do."""
        if ranks.apart():
            return
        unread, self.unread = self.unread, []
        for episodes, timing in unread:
            self.add(episodes, timing)

    def add(self, episodes: EndedEpisodes, timing: Timing) -> None:
        """Count the finished episodes and all steps of what was just collected.

        Learning is all that happens between two rollouts, evaluation left out. On an accelerator the parts count how
        long it takes to launch them.
        """
        seconds, environment = timing.seconds, timing.environment
        # The first of several processes, which writes the log, has the episodes of all.
        parts = ranks.gathered(episodes.read())
        self.recent.extend(pair for part in parts for pair in part.latest)
        steps = sum(part.steps for part in parts)
        self.steps += steps
        if count := sum(part.number for part in parts):
            self.curve.add((self.steps, sum(part.total for part in parts) / count))
        self.scalars = {
            "time/game_steps_per_second": steps / max(seconds, 1e-9),
            "train/game_steps": float(self.steps),
        }
        # A rollout that is replayed as a whole has no such parts.
        if environment > 0:
            self.scalars |= {
                "time/environment_steps_per_second": steps / environment,
                "time/acting_steps_per_second": steps / max(seconds - environment, 1e-9),
            }
        if self.learning_since is not None:
            learning = timing.started - self.learning_since - self.evaluation_seconds
            self.scalars["time/learning_steps_per_second"] = steps / max(learning, 1e-9)
        self.learning_since, self.evaluation_seconds = timing.started + seconds, 0.0
        if self.recent:
            count = len(self.recent)
            self.scalars["train/return"] = sum(r for r, _ in self.recent) / count
            self.scalars["train/episode_length"] = sum(n for _, n in self.recent) / count

    def state_dict(self) -> dict[str, Any]:
        self.settle()
        return {
            "history": self.curve.state_dict(),
            "recent": [list(pair) for pair in self.recent],
            "played": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pairs = list[Annotated[list[float], Field(min_length=2, max_length=2)]]
        check_saved("the task", state, recent=pairs, played=CountOrZero)
        self.curve.load_state_dict(state["history"])
        self.recent = deque(((r, n) for r, n in state["recent"]), maxlen=RECENT)
        self.steps = state["played"]
