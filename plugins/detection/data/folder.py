"""A folder of annotated images in any of the formats: read, checked, split, and summarised in a few lines."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from framework import UserError
from framework.photographs import Unreadable, read_photograph
from plugins.detection.data.checking import Checker
from plugins.detection.data.dividing import assign_splits
from plugins.detection.data.foreign import foreign
from plugins.detection.data.formats import Format, read_folder
from plugins.detection.data.readers.entry import Entry, Report
from plugins.detection.data.readers.files import Files
from plugins.detection.sample import PADDING, Sample

# A higher fraction of damaged images means that something else is wrong.
MAX_DAMAGED = 0.5
# Images to read before that fraction is judged.
MIN_READ = 100


@dataclass
class Damage:
    """The images of all splits of a folder that were read, and those of them that are damaged."""

    images: int
    read: set[Path] = field(default_factory=set)
    found: set[Path] = field(default_factory=set)

    def note(self, path: Path, why: str) -> None:
        """Report a damaged image, once.

        Raises:
            UserError: there are too many.
        """
        if path not in self.found:
            print(f"{path}: {why}; left out", file=sys.stderr)
        self.found.add(path)
        if len(self.found) > MAX_DAMAGED * max(len(self.read), min(self.images, MIN_READ)):
            count = f"{len(self.found)} of {len(self.read)} images are damaged"
            raise UserError(f"task.data.root: {count}, the last in {path}: {why}")


class Folder:
    """Some entries of a folder as samples; images are read on demand.

    Attributes:
        entries: the images and their objects.
        categories: the names of labels 0, 1, ...
        category_ids: the labels' numbers in the data set; label + 1 where it has none.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        categories: Sequence[str],
        damage: Damage,
        category_ids: Sequence[int] = (),
    ) -> None:
        self.entries = list(entries)
        self.categories = list(categories)
        self.category_ids = list(category_ids) or [n + 1 for n in range(len(categories))]
        self.damage = damage

    def __len__(self) -> int:
        return len(self.entries)

    def sample(self, index: int) -> Sample:
        """Sample `index`; a damaged image is grey and without objects, marked so, and is reported once."""
        entry = self.entries[index]
        labels = {name: label for label, name in enumerate(self.categories)}
        annotations = [a for a in entry.annotations if a.name in labels]
        self.damage.read.add(entry.path)
        try:
            image, damaged = read_photograph(entry.path), False
        except Unreadable as error:
            self.damage.note(entry.path, str(error))
            damaged = True
            image, annotations = torch.full((3, 32, 32), PADDING, dtype=torch.uint8), []
        return Sample(
            image,
            torch.tensor(
                [annotation.box for annotation in annotations], dtype=torch.float32
            ).reshape(-1, 4),
            torch.tensor(
                [labels[annotation.name] for annotation in annotations], dtype=torch.int64
            ),
            torch.tensor([annotation.crowd for annotation in annotations], dtype=torch.bool),
            torch.tensor(
                [annotation.area or 0.0 for annotation in annotations], dtype=torch.float32
            ),
            index + 1,
            (image.shape[1], image.shape[2]),
            damaged,
        )

    @property
    def most_objects(self) -> int:
        """The largest number of objects in an image, crowds not counted."""
        counts = (sum(not a.crowd for a in entry.annotations) for entry in self.entries)
        return max(counts, default=0)

    def name(self, index: int) -> str:
        """The file's name."""
        return self.entries[index].path.name


@dataclass(frozen=True)
class FolderSplits:
    """A folder's three splits, and a report of how they were read, in lines."""

    train: Folder
    validation: Folder
    test: Folder
    report: list[str]


def open_folder(
    root: Path, format: Format | Literal["auto"] = "auto", categories: Sequence[str] = ()
) -> FolderSplits:
    """Read a folder of annotated images.

    Args:
        root: the folder, or its one annotation file: a data.yaml, json, xml or csv.
        format: how it is annotated; auto: detected.
        categories: the names of labels 0, 1, ..., objects of others are dropped; none: all of the data set, in its own
            order (a yaml's, that of category ids), else in that of the alphabet.

    Raises:
        UserError: no such folder, no known format, no readable image, or no object at all.
    """
    files = files_of(root)
    read = read_folder(files, format)
    reading, report = read.reading, read.report
    names = distinct(list(categories) or reading.categories, report)
    checker = Checker(names, report)
    parts: dict[str | None, list[Entry]] = {}
    by_split = merged(reading.entries)
    for split, entries in by_split.items():
        clean = [checker.checked(entry) for entry in entries]
        parts[split] = [entry for entry in clean if entry is not None]
    checker.refuse_misread(root)
    refuse_empty(files, parts, by_split, names, report)
    images = sum(map(len, parts.values()))
    annotations = sum(len(entry.annotations) for part in parts.values() for entry in part)
    (train, validation, test), division = assign_splits(parts, report)
    lines = [
        f"{root} ({read.format}): {images} images with {annotations} objects of {len(names)} categories "
        f"({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})",
        f"{len(train)} for training, {len(validation)} for validation, {len(test)} for testing{division}",
        *report.lines(),
    ]
    damage = Damage(images)
    ids = [reading.ids[name] for name in names] if set(names) <= reading.ids.keys() else []
    folders = [Folder(part, names, damage, ids) for part in (train, validation, test)]
    return FolderSplits(folders[0], folders[1], folders[2], lines)


def distinct(names: Sequence[str], report: Report) -> list[str]:
    """Names, each once; classes of one name are one."""
    for name, count in Counter(names).items():
        if count > 1:
            report.remark(f"{count} classes are called '{name}': they are taken as one")
    return list(dict.fromkeys(names))


def files_of(root: Path) -> Files:
    """The files of a folder, or of that of an annotation file.

    Raises:
        UserError: neither is there.
    """
    if root.is_file():
        folder = root.parent
        # annotations/instances.json, with the images in the folder above.
        folder = folder.parent if folder.name.lower() in ("annotations", "labels") else folder
        return Files(folder, only=root)
    if not root.is_dir():
        raise UserError(f"task.data.root = '{root}': no such folder")
    return Files(root)


def refuse_empty(
    files: Files,
    parts: Mapping[str | None, Sequence[Entry]],
    before: Mapping[str | None, Sequence[Entry]],
    names: Sequence[str],
    report: Report,
) -> None:
    """Refuse a data set of which too little is left.

    Raises:
        UserError: most images were dropped, or there is no object; with what was dropped.
    """
    images = sum(map(len, parts.values()))
    root, why = files.only or files.root, "; ".join(report.lines())
    if not any(entry.annotations for part in before.values() for entry in part):
        why = "; ".join(filter(None, [why, foreign(files)]))
    unreadable = report.counts["images dropped that cannot be read"]
    if not sum(map(len, before.values())) or unreadable > MAX_DAMAGED * (images + unreadable):
        raise UserError(
            f"task.data.root = '{root}': too few images can be read: {why or 'it contains no images'}"
        )
    if not names or not any(entry.annotations for part in parts.values() for entry in part):
        raise UserError(
            f"task.data.root = '{root}': no image has an object{'; ' if why else ''}{why}"
        )


def merged(parts: Mapping[str | None, Sequence[Entry]]) -> dict[str | None, list[Entry]]:
    """Each split with one entry for each image, which has the objects of all of its entries.

    Entries of an image without a split are added to the splits that the image is in, if there are any.
    """
    found: dict[str | None, dict[Path, Entry]] = {split: {} for split in parts}
    for split in sorted(parts, key=lambda split: split is None):
        for entry in parts[split]:
            named = [mine for s, mine in found.items() if s is not None and entry.path in mine]
            for mine in named if split is None and named else [found[split]]:
                known = mine.get(entry.path)
                if known is None:
                    mine[entry.path] = entry
                    continue
                new = tuple(a for a in entry.annotations if a not in known.annotations)
                both = known.annotations + new
                dropped = known.dropped + entry.dropped
                mine[entry.path] = replace(entry, annotations=both, dropped=dropped)
    return {split: list(mine.values()) for split, mine in found.items()}
