"""Episodes that have ended: their returns and lengths, on the games' device until the log reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Episodes of which returns and lengths are kept one by one.
RECENT = 100


@dataclass(frozen=True)
class EpisodeStatistics:
    """Whole episodes: `returns [E]` and `lengths [E]`."""

    returns: Tensor
    lengths: Tensor


class Read(NamedTuple):
    """What is read of ended episodes: (return, length) of the latest, how many there are, and of all together."""

    latest: list[tuple[float, float]]
    number: int
    total: float
    steps: int


@dataclass(frozen=True)
class EndedEpisodes:
    """The episodes that ended while steps were played, in tensors whose shapes do not depend on how many did.

    Attributes:
        returns, lengths: `[K]`, of the latest `RECENT` at most, the latest last; other entries mean nothing.
        there: `[K]`, which entries are an episode.
        count, total: of all: how many, and the sum of their returns in float64.
        steps: played, in all episodes together.
    """

    returns: Tensor
    lengths: Tensor
    there: Tensor
    count: Tensor
    total: Tensor
    steps: Tensor

    @classmethod
    def of(cls, returns: Tensor, lengths: Tensor, ended: Tensor, steps: Tensor) -> EndedEpisodes:
        """From returns and lengths up to each of some moments, in order, and whether an episode ended there."""
        returns, lengths, ended = returns.flatten(), lengths.flatten(), ended.flatten()
        number = torch.arange(1, len(ended) + 1, device=ended.device) * ended
        latest = number.topk(min(RECENT, len(number))).values.flip(0)
        rows = (latest - 1).clamp(min=0)
        return cls(
            returns=returns[rows],
            lengths=lengths[rows],
            there=latest > 0,
            count=ended.sum(),
            total=(returns.double() * ended).sum(),
            steps=steps,
        )

    @classmethod
    def whole(cls, episodes: EpisodeStatistics, steps: Tensor | None = None) -> EndedEpisodes:
        """Whole episodes; `steps`: where others than theirs were played."""
        ended = torch.ones_like(episodes.lengths, dtype=torch.bool)
        played = episodes.lengths.sum() if steps is None else steps
        return cls.of(episodes.returns, episodes.lengths, ended, played)

    def read(self) -> Read:
        """All numbers, by one wait."""
        head = torch.stack([self.count.double(), self.total, self.steps.double()])
        parts = [part.double() for part in (self.returns, self.lengths, self.there)]
        count, total, steps, *rest = torch.cat([head, *parts]).tolist()
        width = len(self.there)
        rows = zip(rest[:width], rest[width : 2 * width], rest[2 * width :], strict=True)
        latest = [(earned, length) for earned, length, is_one in rows if is_one]
        return Read(latest, int(count), total, int(steps))
