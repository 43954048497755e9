"""The result of every reader: the images of each split with their objects, and a report of what was dropped."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework import UserError

# Names of the splits in folders and files.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
EMPTY_BOX = (
    "boxes dropped that are empty or end before they begin (x, y, width, height as corners?)"
)
UNKNOWN_CATEGORY = "objects of unknown categories dropped"


@dataclass(frozen=True)
class Annotation:
    """An object as annotated: corners in pixels, its category's name, whether it is a crowd, its area where given."""

    box: tuple[float, float, float, float]
    name: str
    crowd: bool = False
    area: float | None = None


@dataclass(frozen=True)
class Entry:
    """An image's file, its objects, and its annotated `(height, width)` where given.

    Attributes:
        dropped: how many of its objects could not be read: it is no background, though it may have no object left.
    """

    path: Path
    annotations: tuple[Annotation, ...]
    size: tuple[int, int] | None = None
    dropped: int = 0


@dataclass
class Report:
    """What was dropped and why: a count for each reason, and the first place; and remarks."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def drop(self, reason: str, place: str | Path, count: int = 1) -> None:
        self.counts[reason] += count
        self.places.setdefault(reason, str(place))

    def remark(self, line: str) -> None:
        """A line that counts nothing, once."""
        if line not in self.remarks:
            self.remarks.append(line)

    def lines(self) -> list[str]:
        """One line for each reason, and the remarks."""
        return [
            *(
                f"{count} {reason}, the first in {self.places[reason]}"
                for reason, count in self.counts.items()
            ),
            *self.remarks,
        ]


@dataclass
class Reading:
    """A data set as read.

    Attributes:
        entries: by split; None where the folder has none.
        categories: the categories' names in the data set's own order, else in that of the alphabet.
        ids: the categories' numbers in the data set, where it has some.
    """

    entries: dict[str | None, list[Entry]]
    categories: list[str]
    ids: Mapping[str, int] = field(default_factory=dict)

    @property
    def annotated(self) -> dict[Path, int]:
        """The images that have objects, and how many."""
        found: dict[Path, int] = {}
        for entry in (entry for part in self.entries.values() for entry in part):
            if entry.annotations:
                found[entry.path] = found.get(entry.path, 0) + len(entry.annotations)
        return found


def split_of(name: str) -> str | None:
    """The split in a file's or a folder's name: "validation" for instances_val2017."""
    words = "".join(c if c.isalpha() else " " for c in name.lower()).split()
    for split, names in SPLITS.items():
        if any(word in names for word in words):
            return split
    return None


def split_of_folders(path: Path, root: Path) -> str | None:
    """The split in the names of a file's folders below the root; one that is nothing but a split's name wins."""
    parts = path.relative_to(root).parts[:-1]
    exact = [part for part in parts if "".join(c for c in part.lower() if c.isalpha()) in WORDS]
    return next((s for part in [*exact, *parts] if (s := split_of(part))), None)


WORDS = {word for words in SPLITS.values() for word in words}


def natural(name: str) -> list[tuple[int, str]]:
    """A key by which 10 comes after 9."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def in_natural_order(names: Iterable[str]) -> list[str]:
    return sorted(set(names), key=natural)


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        UserError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: expected UTF-8; save it in this encoding") from None


def parse_size(height: Any, width: Any) -> tuple[int, int] | None:
    """An annotated size; None where it is invalid, such as 0 x 0."""
    try:
        size = int(float(height)), int(float(width))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def numbers(values: Iterable[Any]) -> list[float] | None:
    """Finite numbers, also where they are written as text; None where one is none."""
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if all(map(math.isfinite, found)) else None


def around(points: Iterable[tuple[float, float]]) -> tuple[float, float, float, float]:
    """The box around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)
