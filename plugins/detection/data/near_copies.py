"""Copies of one photograph: by their names, where an exporter made several, and by their looks.

Two images look alike where the slopes of their grey thumbnails of 16 x 16 pixels point the same way: brightness,
compression and scale do not change them, another scene does. Images without any slope are like no other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from framework.photographs import Unreadable, read_small

SIDE = 16
# The cosine of the slopes from which two images are near copies; the second for sets that all look alike.
ALIKE, VERY_ALIKE = 0.9, 0.98
# A thumbnail with a smaller mean slope, in grey levels, is flat.
FLAT = 1.0
# A larger share of all images is no group of copies.
MAX_GROUP = 1 / 3
# Reading more images takes too long before a run.
MAX_LOOKED_AT = 1000
# What exporters and augmentations add to a name: `x_jpg.rf.HASH`, `x_aug3`, `x_flip`, `x - Copy`.
ROBOFLOW = re.compile(r"^(.+)[_.](?:jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9a-zA-Z]{8,}$", re.IGNORECASE)
ADDED = re.compile(
    r"[-_ ]+(?:copy|kopie|aug|augmented|hflip|vflip|flip|flipped|mirror|rot|rotated|rotate|blur|noise|bright|dark)"
    r"[-_ ]?\d*$",
    re.IGNORECASE,
)
NUMBERED_COPY = re.compile(r"^(.+?) ?\(\d+\)$")


def source_name(path: Path, stems: set[str]) -> str:
    """The name of the photograph that a file is a copy of: its own, but for what exporters add.

    Args:
        stems: of all files: `x (1)` is a copy where there is an `x`.
    """
    name = path.stem
    if found := ROBOFLOW.match(name):
        name = found[1]
    while (shorter := ADDED.sub("", name)) != name and shorter:
        name = shorter
    if (found := NUMBERED_COPY.match(name)) and found[1] in stems:
        name = found[1]
    return name


def slopes_of(path: Path) -> Tensor | None:
    """The slopes of an image's thumbnail as a unit vector `[480]`; None where it is flat or cannot be read."""
    try:
        pixels = read_small(path, 4 * SIDE)
    except Unreadable:
        return None
    grey = Image.fromarray(pixels.permute(1, 2, 0).numpy()).convert("L")
    small = grey.resize((SIDE, SIDE), Image.Resampling.BOX)
    values = torch.tensor(list(small.tobytes()), dtype=torch.float32).view(SIDE, SIDE)
    slopes = torch.cat([values.diff(dim=0).flatten(), values.diff(dim=1).flatten()])
    return slopes / slopes.norm() if float(slopes.abs().mean()) >= FLAT else None


class Looks:
    """The looks of images.

    Attributes:
        places: the indices of the images that have any.
        slopes: `[n, 480]`, of these.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        found = [slopes_of(path) for path in paths]
        self.places = [i for i, one in enumerate(found) if one is not None]
        known = [one for one in found if one is not None]
        self.slopes = torch.stack(known) if known else torch.zeros(0, 2 * SIDE * (SIDE - 1))

    def pairs(self, alike: float = ALIKE) -> list[tuple[int, int]]:
        """The pairs of images (i < j) that look alike."""
        found: list[tuple[int, int]] = []
        for start in range(0, len(self.places), 1000):
            cosine = self.slopes[start : start + 1000] @ self.slopes.T
            for i, j in (cosine >= alike).nonzero().tolist():
                if start + i < j:
                    found.append((self.places[start + i], self.places[j]))
        return found


def joined(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """For each of `count` things the first one that it is joined with, through any number of pairs."""
    root = list(range(count))

    def top(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, j in pairs:
        a, b = sorted((top(i), top(j)))
        root[b] = a
    return [top(i) for i in range(count)]


def groups_by_name(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Pairs of images that are copies by their names; equal names in two folders tell nothing."""
    stems = {path.stem for path in paths}
    named = [source_name(path, stems) for path in paths]
    copied = {name for name, path in zip(named, paths, strict=True) if name != path.stem}
    first: dict[str, int] = {}
    pairs = [(first.setdefault(name, i), i) for i, name in enumerate(named) if name in copied]
    return [(i, j) for i, j in pairs if i != j]


def groups_of(paths: Sequence[Path]) -> tuple[list[int], str]:
    """For each image the first one of its group of near copies, and a remark on how they were recognised."""
    count = len(paths)
    named = groups_by_name(paths)
    # A name that most images share, such as a common beginning, tells nothing.
    named = named if not too_large(joined(count, named)) else []
    if count > MAX_LOOKED_AT:
        remark = f"near copies known by their names only: more than {MAX_LOOKED_AT:,} images"
        return joined(count, named), remark
    looks = Looks(paths)
    for alike in (ALIKE, VERY_ALIKE):
        groups = joined(count, [*named, *looks.pairs(alike)])
        if not too_large(groups):
            copies = count - len(set(groups))
            return groups, f"{copies} near copies kept with their first image" if copies else ""
    return joined(count, named), "the images look too much alike to tell near copies apart"


def too_large(groups: Sequence[int]) -> bool:
    """Whether a group is larger than copies can be."""
    largest = max(Counter(groups).values(), default=0)
    return largest > max(2, MAX_GROUP * len(groups))
