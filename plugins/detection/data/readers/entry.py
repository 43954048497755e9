"""What every reader makes of a folder: the images of each split with named boxes, and what was left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from framework import UserError

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
    """An image's file, what is in it, and its `(height, width)` where that is written."""

    path: Path
    things: tuple[Thing, ...]
    size: tuple[int, int] | None = None


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


def split_of_folder(path: Path, root: Path) -> str | None:
    """The split that the name of a file's folder tells; the root's own name tells nothing."""
    return split_of(path.parent.name) if path.parent != root else None


class Files:
    """Where the images of a folder are, by relative path and by name, whatever folder they are in."""

    def __init__(self, root: Path, report: Report) -> None:
        self.root, self.report = root, report
        self.by_name: dict[str, list[Path]] = {}
        self.by_stem: dict[str, list[Path]] = {}
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in IMAGES:
                self.by_name.setdefault(path.name, []).append(path)
                self.by_stem.setdefault(path.stem, []).append(path)

    def find(
        self, names: Sequence[str], near: Sequence[Path] = (), split: str | None = None
    ) -> Path | None:
        """The image that has one of the names, the first that fits; where there is none, or several, it is reported.

        It is in one of the folders `near`, below the root, or anywhere under the name's last part: of several such the
        one whose path ends with the whole name, or whose folders tell the same split.
        """
        several = False
        for name in filter(None, names):
            for folder in (*near, self.root):
                if (folder / name).is_file():
                    return folder / name
            found = self.anywhere(name, split)
            if len(found) == 1:
                return found[0]
            several = several or len(found) > 1
        why = "whose names several files have" if several else "whose files are missing"
        self.report.drop(f"images dropped {why}", next(filter(None, names), "?"))
        return None

    def anywhere(self, name: str, split: str | None) -> list[Path]:
        """The images that `name` may mean."""
        parts = PurePosixPath(name.replace("\\", "/")).parts
        plain = parts[-1] if parts else ""
        found = self.by_name.get(plain) or self.by_stem.get(plain) or []
        if len(found) > 1:
            found = [p for p in found if p.parts[-len(parts) :] == parts] or found
        if len(found) > 1 and split is not None:
            folders = {p: p.relative_to(self.root).parts[:-1] for p in found}
            found = [p for p in found if split in map(split_of, folders[p])] or found
        return found


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


def size_told(height: Any, width: Any) -> tuple[int, int] | None:
    """A written size; None where it is no size, such as 0 x 0."""
    try:
        size = int(height), int(width)
    except (TypeError, ValueError):
        return None
    return size if min(size) > 0 else None


def whole(values: Iterable[float]) -> bool:
    """Whether all are finite numbers."""
    return all(math.isfinite(v) for v in values)
