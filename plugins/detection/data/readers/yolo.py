"""YOLO's text files: one for each image, a line `class x y width height` for each object, as fractions of the image.

    root/data.yaml (names; train, val and test: folders, lists of images, or several) or root/classes.txt,
    root/images/... + root/labels/... with the same names, or both side by side; darknet's obj.data and obj.names.

An image without a text file has no objects; a split none of whose images has one is not annotated, and left out. A line
with more numbers is a polygon, of which the bounding box is used, or a box with keypoints (`yolo_lines.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from framework import UserError
from framework.photographs import size_of
from plugins.detection.data.readers.entry import (
    UNKNOWN_CATEGORY,
    Annotation,
    Entry,
    Reading,
    Report,
    read_text,
    split_of_folders,
)
from plugins.detection.data.readers.files import Files, folded
from plugins.detection.data.readers.yolo_lines import Form, Line, form_of, is_label_file, parse_line
from plugins.detection.data.readers.yolo_lists import Description, describe, lists_of

# The last folder of this name in an image's path is `labels` in that of its text file.
PICTURES = {"images", "jpegimages", "image", "imgs", "img"}
LABELS = {"labels", "label", "annotations", "labels_yolo", "yolo"}


@dataclass(frozen=True)
class Labelled:
    """An image, its text file where there is one, and the lines of that."""

    image: Path
    path: Path | None
    lines: list[Line]


def files(folder: Files) -> list[Path]:
    """The folder's description, or its text files of labels."""
    described = describe(folder)
    if described.path is not None:
        return [described.path]
    return [p for p in folder.annotations(".txt") if is_label_file(p)]


def read(folder: Files, report: Report) -> Reading:
    """All splits of a folder.

    Raises:
        UserError: a description that cannot be understood, or lines that are two things at once.
    """
    described = describe(folder)
    labels = LabelFiles(folder)
    by_split = {
        split: [labels.of(image) for image in images]
        for split, images in images_by_split(folder, described, report).items()
    }
    labelled = [one for part in by_split.values() for one in part]
    labels.report_unused(labelled, report)
    lines = [line for one in labelled for line in one.lines]
    names = described.names or numbered_names(lines)
    refuse_counting_from_one(lines, names, folder)
    form = form_of(lines, described.keypoints, folder.root)
    if form is not Form.POLYGON and any(len(line.numbers) > 5 for line in lines):
        report.remark("the text files hold keypoints: their boxes are used")
    entries: dict[str | None, list[Entry]] = {}
    for split, part in by_split.items():
        if part and lines and all(one.path is None for one in part):
            why = "images left out of a split that has no text file"
            report.drop(why, part[0].image.name, len(part))
            continue
        for one in part:
            if one.path is None:
                report.drop("images without a text file taken as without objects", one.image.name)
        entries[split] = [entry_of(one, names, form, report) for one in part]
    ids = {name: number for number, name in enumerate(names)}
    return Reading(entries, names, ids if len(ids) == len(names) else {})


def numbered_names(lines: Sequence[Line]) -> list[str]:
    """The classes' numbers as names, where nothing names them."""
    highest = max((line.label for line in lines if line.label is not None), default=-1)
    return [str(number) for number in range(highest + 1)]


def refuse_counting_from_one(lines: Sequence[Line], names: Sequence[str], folder: Files) -> None:
    """Refuse numbers that begin with 1 and end one above the last class.

    Raises:
        UserError: names both.
    """
    labels = {line.label for line in lines if line.label is not None}
    if labels and min(labels) == 1 and max(labels) == len(names):
        raise UserError(
            f"{folder.root}: the text files' classes are 1 to {len(names)}, the names' 0 to {len(names) - 1}: "
            "they count from 1; expected numbers from 0"
        )


def images_by_split(
    folder: Files, described: Description, report: Report
) -> dict[str | None, list[Path]]:
    """The images of each split: as the description or lists say, else by the names of folders."""
    found = lists_of(folder, described, report)
    if any(found.values()):
        return found
    for image in folder.images:
        split = split_of_folders(image, folder.root)
        found.setdefault(split, []).append(image)
    return found


class LabelFiles:
    """The text files of a folder, by the images that they belong to."""

    def __init__(self, folder: Files) -> None:
        self.root = folder.root
        texts = [path for path in folder.all if path.suffix.lower() == ".txt"]
        self.all = set(texts)
        self.by_stem: dict[str, list[Path]] = {}
        for path in texts:
            self.by_stem.setdefault(folded(path.stem), []).append(path)
        self.stems = {folded(path.stem) for path in folder.images}

    def of(self, image: Path) -> Labelled:
        """An image with its text file: .../labels/... for .../images/..., beside it, or the only one of its name."""
        path = next((place for place in places(image) if place in self.all), None)
        if path is None:
            others = [p for p in self.by_stem.get(folded(image.stem), []) if is_label_file(p)]
            split = split_of_folders(image, self.root)
            same = [p for p in others if split_of_folders(p, self.root) == split]
            path = same[0] if len(same) == 1 else None
        lines = [] if path is None else read_text(path).splitlines()
        parsed = [parse_line(line, n) for n, line in enumerate(lines, 1) if line.strip()]
        return Labelled(image, path, parsed)

    def report_unused(self, labelled: Sequence[Labelled], report: Report) -> None:
        """Count text files without an image."""
        for path in sorted(self.all - {one.path for one in labelled}):
            if folded(path.stem) not in self.stems and is_label_file(path):
                report.drop("text files left out without an image of their name", path.name)


def places(image: Path) -> list[Path]:
    """Where the text file of an image may be, the likeliest first."""
    parts = list(image.parts)
    found = []
    for i in reversed(range(len(parts) - 1)):
        if parts[i].lower() in PICTURES:
            found = [Path(*parts[:i], name, *parts[i + 1 :]) for name in sorted(LABELS)]
            found.sort(key=lambda path: "labels" not in path.parts)
            break
    beside = [image.parent / name / image.name for name in sorted(LABELS)]
    named = [path.with_suffix(".txt") for path in (*found, image, *beside)]
    # a.jpg.txt
    return [*named, *(path.with_name(f"{image.name}.txt") for path in (*found, image))]


def entry_of(one: Labelled, names: Sequence[str], form: Form, report: Report) -> Entry:
    """An image with the objects of its text file."""
    size = size_of(one.image) if one.lines else None
    if one.lines and size is None:
        # Unreadable: reported when it is opened.
        return Entry(one.image, ())
    height, width = size or (1, 1)
    annotations: list[Annotation] = []
    for line in one.lines:
        box = form.box(line)
        label = names.index(line.word) if line.label is None and line.word in names else line.label
        if isinstance(box, str) or label is None or not 0 <= label < len(names):
            unknown = UNKNOWN_CATEGORY if line.numbers and not isinstance(box, str) else box
            name = one.path.name if one.path is not None else one.image.name
            report.drop(str(unknown), f"{name}, line {line.number}")
            continue
        x0, y0, x1, y1 = box
        corners = (x0 * width, y0 * height, x1 * width, y1 * height)
        annotations.append(Annotation(corners, names[label]))
    return Entry(one.image, tuple(annotations), None, len(one.lines) - len(annotations))
