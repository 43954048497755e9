"""A line of YOLO's text files: a class, then a box as centre and size, a polygon, or a box and keypoints.

The last two can have equally many numbers. It is a box with keypoints where `kpt_shape` says so, or where all lines
have equally many numbers and in nine of ten of them all keypoints are inside the box; a polygon's first corner is
hardly ever the middle of a box around the others.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from framework import UserError
from plugins.detection.data.readers.entry import EMPTY_BOX, around, numbers, read_text

UNPARSED = "lines dropped that are not `class x y width height`"
SCORED = "lines dropped with a fifth number after the box (detections with scores, no labels?)"
NOT_FRACTIONS = "boxes dropped whose numbers are no fractions of the image (pixels?)"
# Rounding may lead out of the image by this fraction of it.
BEYOND = 0.05
# The share of lines with keypoints inside their box from which they are keypoints, and below which polygons.
SURE, UNSURE = 0.9, 0.5
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Line:
    """A line: its number in its file, its class as a number (None: a word), the word, its numbers (none: unparsed)."""

    number: int
    label: int | None
    word: str
    numbers: tuple[float, ...]


class Form(enum.Enum):
    """What more than four numbers are: a polygon, or a box with keypoints of 2 or 3 numbers each."""

    POLYGON = 0
    KEYPOINTS = 2
    KEYPOINTS_WITH_VISIBILITY = 3

    def box(self, line: Line) -> Box | str:
        """The box of a line as fractions, or the reason why it is dropped."""
        values = line.numbers
        if len(values) < 4:
            return UNPARSED
        if len(values) == 5:
            return SCORED
        if len(values) == 4 or self is not Form.POLYGON:
            box = centred(values)
        elif len(values) % 2:
            return UNPARSED
        else:
            box = around(zip(values[::2], values[1::2], strict=True))
        stated = values if len(values) > 4 and self is Form.POLYGON else values[:4]
        if not all(-BEYOND <= value <= 1 + BEYOND for value in stated):
            return NOT_FRACTIONS
        return EMPTY_BOX if box[2] <= box[0] or box[3] <= box[1] else box


def parse_line(line: str, number: int) -> Line:
    """A line; one that cannot be understood has no numbers."""
    word, *rest = line.replace(",", " ").split() or [""]
    found = numbers(rest)
    label = numbers([word])
    whole = label is not None and label[0] == int(label[0])
    return Line(number, int(label[0]) if label and whole else None, word, tuple(found or ()))


def is_label_file(path: Path) -> bool:
    """Whether a text file's first line may be one of labels."""
    try:
        first = next((line for line in read_text(path).splitlines() if line.strip()), "")
    except UserError:
        return False
    line = parse_line(first, 1)
    return line.label is not None and len(line.numbers) >= 4


def form_of(lines: Sequence[Line], keypoints: Sequence[int], root: Path) -> Form:
    """What the longer lines of a data set are.

    Args:
        keypoints: `kpt_shape` of its yaml: how many, and numbers of each; empty: not stated.

    Raises:
        UserError: they may be both.
    """
    if keypoints:
        return Form(keypoints[1])
    longer = [line for line in lines if len(line.numbers) > 5]
    if len({len(line.numbers) for line in longer}) != 1:
        return Form.POLYGON
    for form in (Form.KEYPOINTS_WITH_VISIBILITY, Form.KEYPOINTS):
        share = sum(holds_keypoints(line, form.value) for line in longer) / len(longer)
        if share >= SURE:
            return form
        if share > UNSURE:
            raise UserError(
                f"{root}: lines of {len(longer[0].numbers) + 1} numbers may be polygons or boxes with keypoints; "
                "state kpt_shape: [COUNT, 2 or 3] in data.yaml, or convert them"
            )
    return Form.POLYGON


def holds_keypoints(line: Line, each: int) -> bool:
    """Whether a line may be a box and keypoints of `each` numbers: inside the box, or not labelled, at 0, 0."""
    rest = line.numbers[4:]
    if len(rest) % each:
        return False
    points = [rest[i : i + each] for i in range(0, len(rest), each)]
    if each == 3 and not all(point[2] in (0, 1, 2) for point in points):
        return False
    x0, y0, x1, y1 = centred(line.numbers)
    margin = 0.02
    inside_image = min(x0, y0) >= -margin and max(x1, y1) <= 1 + margin and x1 > x0 and y1 > y0
    seen = [point for point in points if tuple(point[:2]) != (0, 0) and point[2:] != (0,)]
    return inside_image and all(
        x0 - margin <= x <= x1 + margin and y0 - margin <= y <= y1 + margin for x, y, *_ in seen
    )


def centred(values: Sequence[float]) -> Box:
    """The corners of a box given by its centre and size."""
    x, y, w, h = values[:4]
    return (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
