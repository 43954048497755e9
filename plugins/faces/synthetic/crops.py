"""Crops of synthetic faces, rendered in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from framework.randomness import generator
from plugins.faces.data.crops import Crops
from plugins.faces.synthetic.people import circumstances, traits
from plugins.faces.synthetic.rendering import RenderedFaces, render

# Faces rendered at once: their pixels stay in the CPU's cache.
CHUNK = 64
# People with this number and above are never trained on.
FIRST_UNSEEN = 1_000_000
# Half a head's height in parts of a crop's side.
HEAD = 0.40


# A sweep renders its people once.
@lru_cache(maxsize=8)
def synthetic_crops(
    seed: int, first: int, people: int, pictures: int, side: int, *, first_picture: int = 0
) -> Crops:
    """Pictures of synthetic people, numbers `first` to `first + people - 1`.

    As those of a detector, the crops are a little off the centre and a little off in size.

    Args:
        pictures: of each person, numbers `first_picture` to `first_picture + pictures - 1`.
        side: pixels of a crop's side.
    """
    who = [first + person for person in range(people) for _ in range(pictures)]
    which = [first_picture + picture for _ in range(people) for picture in range(pictures)]
    images = torch.empty(len(who), 3, side, side, dtype=torch.uint8)
    for begin in range(0, len(who), CHUNK):
        chosen = slice(begin, begin + CHUNK)
        rendered = rendered_faces(seed, who[chosen], which[chosen], side)
        images[chosen] = as_bytes(rendered.colours)
    labels = torch.arange(people).repeat_interleave(pictures)
    names = tuple(f"synthetic {first + person}" for person in range(people))
    return Crops(images, labels, names, synthetic=True)


def rendered_faces(
    seed: int, people: Sequence[int], pictures: Sequence[int], side: int
) -> RenderedFaces:
    """One face about the middle of each picture."""
    look = traits(seed, people) | circumstances(seed, people, pictures)
    jitter = torch.stack(
        [
            torch.randn(3, generator=generator(seed, "frame", person, picture)).clamp(-2, 2)
            for person, picture in zip(people, pictures, strict=True)
        ]
    )
    centre = side * (0.5 + 0.03 * jitter[:, :2])
    scale = side * HEAD * (1 + 0.05 * jitter[:, 2])
    return render(look, side, centre, scale)


def as_bytes(colours: Tensor) -> Tensor:
    """Colours in 0..1 as uint8."""
    return (colours * 255).round().clamp(0, 255).to(torch.uint8)
