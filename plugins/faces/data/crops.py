"""Crops of faces: `[N, 3, S, S]` bytes with the person's number for each, drawn here or read from a user's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Crops:
    """Faces cut out.

    Attributes:
        images: `[N, 3, S, S]` uint8, RGB.
        people: `[N]` int64, who it is: 0..count-1; rising where they are learned from.
        names: what the people are called, `count` of them.
        drawn: whether the faces are drawings.
    """

    images: Tensor
    people: Tensor
    names: tuple[str, ...]
    drawn: bool = False

    def __len__(self) -> int:
        return len(self.images)

    @property
    def side(self) -> int:
        return self.images.shape[-1]

    def of(self, people: Sequence[int]) -> Crops:
        """The crops of some people, numbered anew and lying in the given order."""
        number = torch.full((len(self.names),), -1)
        number[torch.tensor(people, dtype=torch.long)] = torch.arange(len(people))
        mine = number[self.people]
        kept = mine.argsort(stable=True)[int((mine < 0).sum()) :]
        names = tuple(self.names[i] for i in people)
        return Crops(self.images[kept], mine[kept], names, self.drawn)
