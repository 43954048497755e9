"""The result of every reader: the images of each split with their objects, and a report of what was dropped."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from framework import UserError
from plugins.detection.data.inside import inside

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
# Names of the splits in folders and files.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Annotation:
    """An object as annotated: corners in pixels, its category's name, whether it is a crowd, its area where given."""

    box: tuple[float, float, float, float]
    name: str
    crowd: bool = False
    area: float | None = None


@dataclass(frozen=True)
class Entry:
    """An image's file, its objects, and its annotated `(height, width)` where given."""

    path: Path
    annotations: tuple[Annotation, ...]
    size: tuple[int, int] | None = None


@dataclass
class Report:
    """What was dropped and why: a count for each reason, and the first place."""

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
    """A data set as read: entries by split (None where the folder has none), and the categories' names."""

    entries: dict[str | None, list[Entry]]
    categories: list[str]


def split_of(name: str) -> str | None:
    """The split in a file's or a folder's name: "validation" for instances_val2017."""
    words = "".join(c if c.isalpha() else " " for c in name.lower()).split()
    for split, names in SPLITS.items():
        if any(word in names for word in words):
            return split
    return None


def split_of_folder(path: Path, root: Path) -> str | None:
    """The split in the name of a file's folder; the root's name does not count."""
    return split_of(path.parent.name) if path.parent != root else None


class Files:
    """The images of a folder by relative path and by name, in any sub-folder."""

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
        """The image with the first of the names that exists; where there is none, or several, that is reported.

        It is looked for in the folders `near`, below the root, and anywhere by the name's last part: of several such
        the one whose path ends with the whole name, or whose folders belong to the same split.

        Nothing outside the root is taken.
        """
        several = False
        for name in filter(None, names):
            for folder in (*near, self.root):
                path = inside(self.root, folder, name)
                # Unlike Path.is_file: False for a name that is too long, too.
                if path is not None and os.path.isfile(path):
                    return path
            found = self.anywhere(name, split)
            if len(found) == 1:
                return found[0]
            several = several or len(found) > 1
        why = "whose files are missing"
        if several:
            why = "whose names several files have"
        elif any(name and inside(self.root, self.root, name) is None for name in names):
            why = "whose names lead out of the folder"
        self.report.drop(f"images dropped {why}", next(filter(None, names), "?"))
        return None

    def anywhere(self, name: str, split: str | None) -> list[Path]:
        """The images that `name` may refer to."""
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


def parse_size(height: Any, width: Any) -> tuple[int, int] | None:
    """An annotated size; None where it is invalid, such as 0 x 0."""
    try:
        size = int(height), int(width)
    except (TypeError, ValueError):
        return None
    return size if min(size) > 0 else None


def all_finite(values: Iterable[float]) -> bool:
    """Whether all are finite numbers."""
    return all(math.isfinite(v) for v in values)
