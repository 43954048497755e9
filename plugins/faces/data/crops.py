"""Crops of faces, each with its person's number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Crops:
    """Cropped faces.

    Attributes:
        images: `[N, 3, S, S]` uint8, RGB.
        people: `[N]` int64, 0 to count - 1; rising in training data.
        names: the names of the `count` people.
        synthetic: whether the faces are synthetic.
    """

    images: Tensor
    people: Tensor
    names: tuple[str, ...]
    synthetic: bool = False

    def __len__(self) -> int:
        return len(self.images)

    @property
    def side(self) -> int:
        return self.images.shape[-1]

    def of(self, people: Sequence[int]) -> Crops:
        """The crops of some people, renumbered and sorted in the given order."""
        number = torch.full((len(self.names),), -1)
        number[torch.tensor(people, dtype=torch.long)] = torch.arange(len(people))
        mine = number[self.people]
        kept = mine.argsort(stable=True)[int((mine < 0).sum()) :]
        names = tuple(self.names[i] for i in people)
        return Crops(self.images[kept], mine[kept], names, self.synthetic)
