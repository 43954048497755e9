"""What was read, checked against the images: sizes, boxes that lie in them, objects that were lost."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from framework import UserError
from framework.photographs import size_of
from plugins.detection.data.readers.entry import (
    EMPTY_BOX,
    UNKNOWN_CATEGORY,
    Annotation,
    Entry,
    Report,
)

# A box of which a larger part lies outside its image does not fit it.
MAX_OUTSIDE = 0.1
# The share and the least number of boxes that do not fit from which it is not a few mistakes.
MAX_MISFITS, MIN_MISFITS = 0.25, 4


@dataclass
class Checker:
    """Checks entries one by one.

    Args:
        names: the labels that are taken.
        report: where faults go.
    """

    names: Collection[str]
    report: Report
    sizes: dict[Path, tuple[int, int] | None] = field(default_factory=dict)
    boxes: int = 0
    misfits: list[str] = field(default_factory=list)
    fractions: int = 0

    def checked(self, entry: Entry) -> Entry | None:
        """The entry, boxes clipped to its image; None where the image cannot be read, or lost all of its objects."""
        path = entry.path
        if path not in self.sizes:
            self.sizes[path] = size_of(path)
        size = self.sizes[path]
        if size is None:
            self.report.drop("images dropped that cannot be read", path.name)
            return None
        self.compare_sizes(entry, size)
        annotations, dropped = [], entry.dropped
        for annotation in dict.fromkeys(entry.annotations):
            if annotation.name not in self.names:
                self.report.drop(UNKNOWN_CATEGORY, path.name)
                continue
            kept = self.clipped(annotation, size, path.name)
            if kept is not None:
                annotations.append(kept)
            dropped += kept is None
        if len(annotations) < len(entry.annotations):
            repeated = len(entry.annotations) - len(set(entry.annotations))
            if repeated:
                why = "objects dropped that are written twice"
                self.report.drop(why, path.name, repeated)
        if dropped and not annotations:
            why = "images left out all of whose objects were dropped: they are no background"
            self.report.drop(why, path.name)
            return None
        return Entry(path, tuple(annotations), size, dropped)

    def compare_sizes(self, entry: Entry, size: tuple[int, int]) -> None:
        """Report an image whose size is not the annotated one."""
        if entry.size in (None, size):
            return
        turned = entry.size == size[::-1]
        why = "turned (boxes drawn on images that were not turned as their EXIF says?)" * turned
        why = why or "another one (boxes of another copy of the images?)"
        self.report.drop(
            f"images kept whose size is not the written one but {why}", entry.path.name
        )

    def clipped(
        self, annotation: Annotation, size: tuple[int, int], place: str
    ) -> Annotation | None:
        """The object with its box clipped to the image; None where nothing remains."""
        height, width = size
        x0, y0, x1, y1 = annotation.box
        self.boxes += 1
        if x1 <= x0 or y1 <= y0:
            self.report.drop(EMPTY_BOX, place)
            return None
        if x1 <= 1 and y1 <= 1 and min(size) > 1:
            self.fractions += 1
            self.report.drop(
                "boxes dropped within the first pixel (fractions of the image?)", place
            )
            return None
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if box[2] <= box[0] or box[3] <= box[1]:
            self.report.drop("boxes dropped that lie outside their image", place)
            self.misfits.append(place)
            return None
        inner, outer = (box[2] - box[0]) * (box[3] - box[1]), (x1 - x0) * (y1 - y0)
        if inner < (1 - MAX_OUTSIDE) * outer:
            self.misfits.append(place)
        if max(abs(a - b) for a, b in zip(box, annotation.box, strict=True)) > 1:
            self.report.drop("boxes clipped to their image", place)
        return replace(annotation, box=box, area=annotation.area if annotation.area else inner)

    def refuse_misread(self, root: Path) -> None:
        """Refuse a data set whose boxes are something else than was read.

        Raises:
            UserError: a quarter of them do not fit their images, or all are fractions.
        """
        if self.boxes and self.fractions == self.boxes:
            raise UserError(
                f"task.data.root = '{root}': all boxes are within one pixel: fractions of the image? expected pixels"
            )
        if len(self.misfits) >= max(MIN_MISFITS, MAX_MISFITS * self.boxes):
            raise UserError(
                f"task.data.root = '{root}': {len(self.misfits)} of {self.boxes} boxes do not fit their images, the "
                f"first in {self.misfits[0]}: corners for a corner and a size, or boxes of other copies of the images?"
            )
