"""A folder of annotated images in any of the formats: read, checked, split, and summarised in a few lines."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import torch

from framework import UserError
from framework.photographs import Unreadable, read_photograph, size_of
from framework.randomness import key
from plugins.detection.data.readers import coco, table, voc, yolo
from plugins.detection.data.readers.entry import Annotation, Entry, Report
from plugins.detection.sample import PADDING, Sample

FORMATS: Mapping[str, ModuleType] = {"coco": coco, "voc": voc, "yolo": yolo, "csv": table}
# Fractions of a data set without splits.
VALIDATION, TEST = 0.1, 0.2
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
    """Some entries of a folder as samples; images are read on demand."""

    def __init__(self, entries: Sequence[Entry], categories: Sequence[str], damage: Damage) -> None:
        self.entries = list(entries)
        self.categories = list(categories)
        self.damage = damage

    def __len__(self) -> int:
        return len(self.entries)

    def sample(self, index: int) -> Sample:
        """Sample `index`; a damaged image is grey and without objects, and is reported once."""
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


def open_folder(root: Path, format: str = "auto", categories: Sequence[str] = ()) -> FolderSplits:
    """Read a folder of annotated images.

    Args:
        format: one of FORMS, or auto.
        categories: the names of labels 0, 1, ..., objects of others are dropped; none: all that occur, alphabetically.

    Raises:
        UserError: no such folder, no known format, no readable image, or no object at all.
    """
    if not root.is_dir():
        raise UserError(f"task.data.root = '{root}': no such folder")
    format = detect_format(root) if format == "auto" else format
    report = Report()
    reading = FORMATS[format].read(root, report)
    names = list(categories) or sorted(reading.categories)
    parts: dict[str | None, list[Entry]] = {}
    checked: dict[Path, tuple[int, int] | None] = {}
    by_split = merged(reading.entries)
    for split, entries in by_split.items():
        clean = [checked_entry(entry, names, checked, report) for entry in entries]
        parts[split] = [entry for entry in clean if entry is not None]
    images = sum(map(len, parts.values()))
    if images < (1 - MAX_DAMAGED) * sum(map(len, by_split.values())) or not images:
        why = "; ".join(report.lines()) or "it contains no images"
        raise UserError(f"task.data.root = '{root}': too few images can be read: {why}")
    annotations = sum(len(entry.annotations) for part in parts.values() for entry in part)
    if not annotations or not names:
        why = "; ".join(["", *report.lines()])
        raise UserError(f"task.data.root = '{root}': no image has an object{why}")
    train, validation, test, division = assign_splits(parts)
    lines = [
        f"{root} ({format}): {images} images with {annotations} objects of {len(names)} categories "
        f"({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})",
        f"{len(train)} for training, {len(validation)} for validation, {len(test)} for testing{division}",
        *report.lines(),
    ]
    damage = Damage(images)
    folders = [Folder(part, names, damage) for part in (train, validation, test)]
    return FolderSplits(folders[0], folders[1], folders[2], lines)


def merged(parts: Mapping[str | None, Sequence[Entry]]) -> dict[str | None, list[Entry]]:
    """Each split with one entry for each image, which has the objects of all of its entries.

    Entries of an image without a split are added to the splits that the image is in, if there are any.
    """
    found: dict[str | None, dict[Path, Entry]] = {split: {} for split in parts}
    for split in sorted(parts, key=lambda split: split is None):
        for entry in parts[split]:
            named = [mine for s, mine in found.items() if s is not None and entry.path in mine]
            for mine in named if split is None and named else [found[split]]:
                known = mine[entry.path].annotations if entry.path in mine else ()
                new = tuple(a for a in entry.annotations if a not in known)
                mine[entry.path] = replace(entry, annotations=known + new)
    return {split: list(mine.values()) for split, mine in found.items()}


def detect_format(root: Path) -> str:
    """The format of a folder, by its files."""
    for format, reader in FORMATS.items():
        if reader.recognises(root):
            return format
    raise UserError(
        f"task.data.root = '{root}': expected COCO's json, Pascal VOC's xml, YOLO's data.yaml or labels/, or a csv"
    )


def checked_entry(
    entry: Entry,
    names: Sequence[str],
    checked: dict[Path, tuple[int, int] | None],
    report: Report,
) -> Entry | None:
    """The entry with boxes clipped to its image; None where the image cannot be read."""
    if entry.path not in checked:
        checked[entry.path] = size_of(entry.path)
    size = checked[entry.path]
    if size is None:
        report.drop("images dropped that cannot be read", entry.path.name)
        return None
    if entry.size not in (None, size):
        turned = entry.size == size[::-1]
        why = "turned (boxes drawn on images that were not turned as their EXIF says?)" * turned
        why = why or "another one (boxes of another copy of the images?)"
        report.drop(f"images kept whose size is not the written one but {why}", entry.path.name)
    annotations = []
    for annotation in entry.annotations:
        if annotation.name not in names:
            report.drop("objects of unknown categories dropped", entry.path.name)
            continue
        kept = clipped(annotation, size, entry.path.name, report)
        if kept is not None:
            annotations.append(kept)
    return Entry(entry.path, tuple(annotations))


def clipped(
    annotation: Annotation, size: tuple[int, int], place: str, report: Report
) -> Annotation | None:
    """The object with its box clipped to the image; None where nothing remains."""
    height, width = size
    x0, y0, x1, y1 = annotation.box
    if x1 <= x0 or y1 <= y0:
        why = "boxes dropped that are empty or end before they begin (x, y, width, height as corners?)"
        report.drop(why, place)
        return None
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if box[2] <= box[0] or box[3] <= box[1]:
        report.drop("boxes dropped that lie outside their image", place)
        return None
    if max(abs(a - b) for a, b in zip(box, annotation.box, strict=True)) > 1:
        report.drop("boxes clipped to their image", place)
    area = annotation.area if annotation.area else (box[2] - box[0]) * (box[3] - box[1])
    return replace(annotation, box=box, area=area)


def assign_splits(
    parts: dict[str | None, list[Entry]],
) -> tuple[list[Entry], list[Entry], list[Entry], str]:
    """Train, validation and test entries by the folder's splits, else by the files' names; and a remark on that."""
    train = parts.get("train", []) + parts.get(None, [])
    validation, test = parts.get("validation", []), parts.get("test", [])
    division = ""
    if not train:
        train, validation, test = (validation, [], test) if validation else (test, [], [])
    if not validation and not test:
        test, train = keyed_split(train, TEST)
        validation, train = keyed_split(train, VALIDATION / (1 - TEST))
        division = " (divided by the files' names: the folder has no splits)"
    elif not validation:
        validation, train = keyed_split(train, VALIDATION)
        division = " (validation images taken from the training images)"
    elif not test:
        test, division = validation, " (there are no test images: the validation images again)"
    return train, validation, test, division


def keyed_split(entries: list[Entry], share: float) -> tuple[list[Entry], list[Entry]]:
    """A fraction of the entries, at least one, and the rest; the choice depends on the files' names only."""

    def draw(entry: Entry) -> int:
        return key(0, "detection/split", 0, zlib.crc32(entry.path.name.encode()))

    order = sorted(entries, key=draw)
    count = min(len(order) - 1, max(1, round(share * len(order))))
    chosen = {id(entry) for entry in order[:count]}
    return (
        [e for e in entries if id(e) in chosen],
        [e for e in entries if id(e) not in chosen],
    )
