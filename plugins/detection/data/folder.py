"""A folder of annotated images, whatever its form: read, checked, split, and told in a few lines."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import torch

from framework import UserError
from framework.randomness import key
from plugins.detection.data.images import Unreadable, read_image, size_of
from plugins.detection.data.readers import coco, table, voc, yolo
from plugins.detection.data.readers.entry import Entry, Report, Thing
from plugins.detection.sample import PADDING, Sample

FORMS: Mapping[str, ModuleType] = {"coco": coco, "voc": voc, "yolo": yolo, "csv": table}
VALIDATION, TEST = 0.1, 0.2  # shares of a data set that does not say
TOO_MANY = 0.5  # of the images unreadable: something else is wrong
ENOUGH = 100  # images that say how many are


@dataclass
class Damage:
    """Which of a folder's images were read, and which of these turned out to be damaged, in all splits."""

    images: int
    read: set[Path] = field(default_factory=set)
    found: set[Path] = field(default_factory=set)

    def note(self, path: Path, why: str) -> None:
        """Name a damaged image, once.

        Raises:
            UserError: there are too many.
        """
        if path not in self.found:
            print(f"{path}: {why}; left out", file=sys.stderr)
        self.found.add(path)
        if len(self.found) > TOO_MANY * max(len(self.read), min(self.images, ENOUGH)):
            told = f"{len(self.found)} of {len(self.read)} images are damaged"
            raise UserError(f"task.data.root: {told}, the last in {path}: {why}")


class Folder:
    """Some entries of a folder as samples; images are read when they are asked for."""

    def __init__(self, entries: Sequence[Entry], categories: Sequence[str], damage: Damage) -> None:
        self.entries = list(entries)
        self.categories = list(categories)
        self.damage = damage

    def __len__(self) -> int:
        return len(self.entries)

    def sample(self, index: int) -> Sample:
        """Sample `index`; an image that turns out to be damaged is grey and holds nothing, and is named once."""
        entry = self.entries[index]
        labels = {name: label for label, name in enumerate(self.categories)}
        things = [thing for thing in entry.things if thing.name in labels]
        self.damage.read.add(entry.path)
        try:
            image, damaged = read_image(entry.path), False
        except Unreadable as error:
            self.damage.note(entry.path, str(error))
            damaged = True
            image, things = torch.full((3, 32, 32), PADDING, dtype=torch.uint8), []
        return Sample(
            image,
            torch.tensor([thing.box for thing in things], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([labels[thing.name] for thing in things], dtype=torch.int64),
            torch.tensor([thing.crowd for thing in things], dtype=torch.bool),
            torch.tensor([thing.area or 0.0 for thing in things], dtype=torch.float32),
            index + 1,
            (image.shape[1], image.shape[2]),
            damaged,
        )

    def name(self, index: int) -> str:
        """The file's name."""
        return self.entries[index].path.name


@dataclass(frozen=True)
class FolderSplits:
    """A folder's three parts, and what is to be told of how they were read."""

    train: Folder
    validation: Folder
    test: Folder
    report: list[str]


def open_folder(root: Path, form: str = "auto", categories: Sequence[str] = ()) -> FolderSplits:
    """Read a folder of annotated images.

    Args:
        form: one of FORMS, or auto.
        categories: the names of labels 0, 1, ..., objects of others are dropped; none: all that occur, by the alphabet.

    Raises:
        UserError: no such folder, no known form, no image that can be read, or no object at all.
    """
    if not root.is_dir():
        raise UserError(f"task.data.root = '{root}': no such folder")
    form = recognised(root) if form == "auto" else form
    report = Report()
    reading = FORMS[form].read(root, report)
    names = list(categories) or sorted(reading.categories)
    parts: dict[str | None, list[Entry]] = {}
    checked: dict[Path, tuple[int, int] | None] = {}
    told = merged(reading.entries)
    for split, entries in told.items():
        clean = [checked_entry(entry, names, checked, report) for entry in entries]
        parts[split] = [entry for entry in clean if entry is not None]
    images = sum(map(len, parts.values()))
    if images < (1 - TOO_MANY) * sum(map(len, told.values())) or not images:
        why = "; ".join(report.lines()) or "it holds no images"
        raise UserError(f"task.data.root = '{root}': too few images can be read: {why}")
    things = sum(len(entry.things) for part in parts.values() for entry in part)
    if not things or not names:
        why = "; ".join(["", *report.lines()])
        raise UserError(f"task.data.root = '{root}': no image has an object{why}")
    train, validation, test, how = divided(parts)
    lines = [
        f"{root} ({form}): {images} images with {things} objects of {len(names)} categories "
        f"({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})",
        f"{len(train)} to learn from, {len(validation)} to validate, {len(test)} to test{how}",
        *report.lines(),
    ]
    damage = Damage(images)
    folders = [Folder(part, names, damage) for part in (train, validation, test)]
    return FolderSplits(folders[0], folders[1], folders[2], lines)


def merged(parts: Mapping[str | None, Sequence[Entry]]) -> dict[str | None, list[Entry]]:
    """Each split with one entry for each image, which has the objects of all of its entries.

    What is known of an image without a split belongs to the splits that it is in, if there are any.
    """
    found: dict[str | None, dict[Path, Entry]] = {split: {} for split in parts}
    for split in sorted(parts, key=lambda split: split is None):
        for entry in parts[split]:
            named = [mine for s, mine in found.items() if s is not None and entry.path in mine]
            for mine in named if split is None and named else [found[split]]:
                known = mine[entry.path].things if entry.path in mine else ()
                new = tuple(thing for thing in entry.things if thing not in known)
                mine[entry.path] = replace(entry, things=known + new)
    return {split: list(mine.values()) for split, mine in found.items()}


def recognised(root: Path) -> str:
    """The form of a folder, found out by looking."""
    for form, reader in FORMS.items():
        if reader.recognises(root):
            return form
    raise UserError(
        f"task.data.root = '{root}': expected COCO's json, Pascal VOC's xml, YOLO's data.yaml or labels/, or a csv"
    )


def checked_entry(
    entry: Entry,
    names: Sequence[str],
    checked: dict[Path, tuple[int, int] | None],
    report: Report,
) -> Entry | None:
    """The entry with boxes inside its image; None where the image cannot be read."""
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
    things = []
    for thing in entry.things:
        if thing.name not in names:
            report.drop("objects of unknown categories dropped", entry.path.name)
            continue
        kept = inside(thing, size, entry.path.name, report)
        if kept is not None:
            things.append(kept)
    return Entry(entry.path, tuple(things))


def inside(thing: Thing, size: tuple[int, int], place: str, report: Report) -> Thing | None:
    """The object with its box cut off at the image's edge; None where nothing is left."""
    height, width = size
    x0, y0, x1, y1 = thing.box
    if x1 <= x0 or y1 <= y0:
        why = "boxes dropped that are empty or end before they begin (x, y, width, height as corners?)"
        report.drop(why, place)
        return None
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if box[2] <= box[0] or box[3] <= box[1]:
        report.drop("boxes dropped that lie outside their image", place)
        return None
    if max(abs(a - b) for a, b in zip(box, thing.box, strict=True)) > 1:
        report.drop("boxes cut off at the edge of their image", place)
    area = thing.area if thing.area else (box[2] - box[0]) * (box[3] - box[1])
    return replace(thing, box=box, area=area)


def divided(
    parts: dict[str | None, list[Entry]],
) -> tuple[list[Entry], list[Entry], list[Entry], str]:
    """Train, validation and test entries as the folder says, what it lacks by the files' names; and how."""
    train = parts.get("train", []) + parts.get(None, [])
    validation, test = parts.get("validation", []), parts.get("test", [])
    how = ""
    if not train:
        train, validation, test = (validation, [], test) if validation else (test, [], [])
    if not validation and not test:
        test, train = keyed_share(train, TEST)
        validation, train = keyed_share(train, VALIDATION / (1 - TEST))
        how = " (divided by the files' names: the folder does not say)"
    elif not validation:
        validation, train = keyed_share(train, VALIDATION)
        how = " (validation images taken from those to learn from)"
    elif not test:
        test, how = validation, " (there are no test images: the validation images again)"
    return train, validation, test, how


def keyed_share(entries: list[Entry], share: float) -> tuple[list[Entry], list[Entry]]:
    """A share of the entries, at least one, and the rest; the choice depends on the files' names only."""

    def draw(entry: Entry) -> int:
        return key(0, "detection/split", 0, zlib.crc32(entry.path.name.encode()))

    order = sorted(entries, key=draw)
    count = min(len(order) - 1, max(1, round(share * len(order))))
    chosen = {id(entry) for entry in order[:count]}
    return (
        [e for e in entries if id(e) in chosen],
        [e for e in entries if id(e) not in chosen],
    )
