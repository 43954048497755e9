"""Crops of synthetic faces, rendered in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from framework.randomness import generator
from plugins.faces.data.crops import Crops
from plugins.faces.synthetic.drawing import Drawn, draw
from plugins.faces.synthetic.people import circumstances, traits

CHUNK = 64  # faces drawn at once: their pixels stay in the processor's cache


FIRST_UNSEEN = 1_000_000  # people with this number and beyond are never learned from


HEAD = 0.40  # half a head's height as a share of a crop's side


@lru_cache(maxsize=8)  # a sweep draws its people once
def drawn_crops(
    seed: int, first: int, people: int, each: int, side: int, *, first_picture: int = 0
) -> Crops:
    """`each` pictures of each of `people` invented people, numbers `first` to `first + people - 1`.

    As from a detector, the faces are not quite in the middle and not quite of one size.
    """
    who = [first + person for person in range(people) for _ in range(each)]
    which = [first_picture + picture for _ in range(people) for picture in range(each)]
    images = torch.empty(len(who), 3, side, side, dtype=torch.uint8)
    for begin in range(0, len(who), CHUNK):
        chosen = slice(begin, begin + CHUNK)
        drawn = drawn_faces(seed, who[chosen], which[chosen], side)
        images[chosen] = as_bytes(drawn.colours)
    labels = torch.arange(people).repeat_interleave(each)
    names = tuple(f"drawn {first + person}" for person in range(people))
    return Crops(images, labels, names, drawn=True)


def drawn_faces(seed: int, people: Sequence[int], pictures: Sequence[int], side: int) -> Drawn:
    """Faces about the middle of a picture of their own."""
    look = traits(seed, people) | circumstances(seed, people, pictures)
    jitter = torch.stack(
        [
            torch.randn(3, generator=generator(seed, "frame", person, picture)).clamp(-2, 2)
            for person, picture in zip(people, pictures, strict=True)
        ]
    )
    centre = side * (0.5 + 0.03 * jitter[:, :2])
    scale = side * HEAD * (1 + 0.05 * jitter[:, 2])
    return draw(look, side, centre, scale)


def as_bytes(colours: Tensor) -> Tensor:
    """Colours in 0..1 as bytes."""
    return (colours * 255).round().clamp(0, 255).to(torch.uint8)
