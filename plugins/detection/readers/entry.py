"""What every reader makes of a folder: the images of each split with named boxes, and what was left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
SPLITS = {  # how folders and files call the splits
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Thing:
    """An object as written: corners in pixels, its category's name, whether it is a crowd, its area if it is told."""

    box: tuple[float, float, float, float]
    name: str
    crowd: bool = False
    area: float | None = None


@dataclass(frozen=True)
class Entry:
    """An image's file and what is in it."""

    path: Path
    things: tuple[Thing, ...]


@dataclass
class Report:
    """What was left out and why: a count for each reason, and the first place where it was."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)

    def drop(self, reason: str, place: str | Path) -> None:
        self.counts[reason] += 1
        self.places.setdefault(reason, str(place))

    def lines(self) -> list[str]:
        """One line for each reason."""
        return [
            f"{count} {reason}, the first in {self.places[reason]}"
            for reason, count in self.counts.items()
        ]


@dataclass
class Reading:
    """A data set as read: entries by split (None where the folder does not say), and the categories' names."""

    entries: dict[str | None, list[Entry]]
    categories: list[str]


def split_of(name: str) -> str | None:
    """The split that a file's or a folder's name tells: instances_val2017 is of "validation"."""
    words = "".join(c if c.isalpha() else " " for c in name.lower()).split()
    for split, names in SPLITS.items():
        if any(word in names for word in words):
            return split
    return None


class Files:
    """Where the images of a folder are, by relative path and by name, whatever folder they are in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.by_name: dict[str, Path] = {}
        self.by_stem: dict[str, Path] = {}
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in IMAGES:
                self.by_name.setdefault(path.name, path)
                self.by_stem.setdefault(path.stem, path)

    def find(self, name: str, near: Sequence[Path] = ()) -> Path | None:
        """The file called `name`: in one of the folders `near`, below the root, or anywhere under its last part."""
        for folder in (*near, self.root):
            if name and (folder / name).is_file():
                return folder / name
        plain = name.replace("\\", "/").rpartition("/")[2]
        return self.by_name.get(plain) or self.by_stem.get(plain)


def whole(values: Iterable[float]) -> bool:
    """Whether all are finite numbers."""
    return all(math.isfinite(v) for v in values)
