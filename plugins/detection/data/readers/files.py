"""The files of a data set's folder: its images by name, and its annotation files by suffix."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from framework.photographs import SUFFIXES, files_in
from plugins.detection.data.inside import inside
from plugins.detection.data.readers.entry import Report, split_of


class Files:
    """All files below a root, listed once; links to folders are followed.

    Args:
        root: the data set's folder.
        only: the one annotation file to read; None: all.
    """

    def __init__(self, root: Path, only: Path | None = None) -> None:
        self.root, self.only = root, only
        self.all = files_in(root)
        self.images = [path for path in self.all if path.suffix.lower() in SUFFIXES]
        self.known = set(self.images)
        self.by_name: dict[str, list[Path]] = {}
        self.by_stem: dict[str, list[Path]] = {}
        for path in self.images:
            self.by_name.setdefault(folded(path.name), []).append(path)
            self.by_stem.setdefault(folded(path.stem), []).append(path)

    def annotations(self, *suffixes: str) -> list[Path]:
        """The annotation files with one of these suffixes."""
        files = self.all if self.only is None else [self.only]
        return [path for path in files if path.suffix.lower() in suffixes]

    def find(
        self,
        names: Sequence[str],
        report: Report,
        near: Sequence[Path] = (),
        split: str | None = None,
    ) -> Path | None:
        """The image with the first of the names that exists; where there is none, or several, that is reported.

        It is looked for in the folders `near`, below the root, and anywhere by the name's last part: of several such
        the one whose path ends with the whole name, or whose folders belong to the same split.

        Nothing outside the root is taken.
        """
        several = False
        for name in filter(None, names):
            found = self.at(name, near) or self.anywhere(name, split)
            if len(found) == 1:
                return found[0]
            several = several or len(found) > 1
        why = "whose files are missing"
        if several:
            why = "whose names several files have"
        elif any(name and inside(self.root, self.root, name) is None for name in names):
            why = "whose names lead out of the folder"
        report.drop(f"images dropped {why}", shortened(next(filter(None, names), "?")))
        return None

    def at(self, name: str, near: Sequence[Path]) -> list[Path]:
        """The image of this name in one of the folders `near` or in the root."""
        for folder in (*near, self.root):
            path = inside(self.root, folder, name.replace("\\", "/"))
            # Unlike Path.is_file: False for a name that is too long, too.
            if path is not None and (path in self.known or os.path.isfile(path)):
                return [path]
        return []

    def anywhere(self, name: str, split: str | None) -> list[Path]:
        """The images that `name` may refer to, by its last part: the same name, but for case; else the same stem.

        A suffix may be missing or another one, as where images were converted afterwards.
        """
        parts = PurePosixPath(folded(unquote(name.replace("\\", "/")))).parts
        plain = parts[-1] if parts else ""
        stem, dot, suffix = plain.rpartition(".")
        converted = stem if dot and f".{suffix}" in SUFFIXES else ""
        found = self.by_name.get(plain) or self.by_stem.get(plain) or []
        found = found or (self.by_stem.get(converted, []) if converted else [])
        for length in range(len(parts), 1, -1):
            whole = [p for p in found if tail(p, length)[:-1] == parts[-length:-1]]
            if len(found) > 1 and whole:
                found = whole
        if len(found) > 1 and split is not None:
            folders = {p: p.relative_to(self.root).parts[:-1] for p in found}
            found = [p for p in found if split in map(split_of, folders[p])] or found
        return found


def tail(path: Path, length: int) -> tuple[str, ...]:
    """The last parts of a path, without regard to case."""
    return tuple(folded(part) for part in path.parts[-length:])


def folded(name: str) -> str:
    """A name without regard to case, and to whether an accent is a character of its own, as macOS writes it."""
    return unicodedata.normalize("NFC", name).casefold()


def shortened(name: str) -> str:
    """A name as it fits into a line."""
    return name if len(name) <= 120 else f"{name[:120]}..."
