"""CVAT's xml for images: one file for all of them; boxes by their edges; turned ones and polygons become boxes.

<annotations> <image name= width= height= subset=> <box label= xtl= ytl= xbr= ybr=/> <polygon label= points=/> ...

Its form for videos, whose frames are no files, is refused.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from framework import UserError
from plugins.detection.data.readers.entry import (
    EMPTY_BOX,
    Annotation,
    Entry,
    Reading,
    Report,
    around,
    in_natural_order,
    numbers,
    parse_size,
    split_of,
    split_of_folders,
)
from plugins.detection.data.readers.files import Files
from plugins.detection.data.readers.xml import Refused, begins_with, parse, text

CORNERS = ("xtl", "ytl", "xbr", "ybr")
OUTLINES = ("polygon", "polyline")


def files(folder: Files) -> list[Path]:
    return [path for path in folder.annotations(".xml") if begins_with(path, "annotations")]


def read(folder: Files, report: Report) -> Reading:
    """All images of the files.

    Raises:
        UserError: a file of videos.
    """
    entries: dict[str | None, list[Entry]] = {}
    order: dict[str, None] = {}
    for path in files(folder):
        try:
            tree = parse(path)
        except Refused as error:
            report.drop(f"annotation files not read ({error})", path.name)
            continue
        if tree.find("track") is not None and tree.find("image") is None:
            raise UserError(f"{path}: CVAT's form for videos; expected its form for images")
        own = split_of(path.stem) or split_of_folders(path, folder.root)
        order |= dict.fromkeys(text(label, "name") for label in tree.iter("label"))
        for image in tree.iter("image"):
            split = split_of(image.get("subset", "")) or own
            entry = entry_of(image, path, split, folder, report)
            if entry is not None:
                entries.setdefault(split, []).append(entry)
    used = {a.name for part in entries.values() for entry in part for a in entry.annotations}
    names = [name for name in order if name]
    return Reading(entries, names + [name for name in in_natural_order(used) if name not in order])


def entry_of(
    image: ElementTree.Element, path: Path, split: str | None, folder: Files, report: Report
) -> Entry | None:
    """An image with its objects."""
    name = image.get("name", "")
    file = folder.find([name], report, [path.parent, path.parent / "images"], split)
    if file is None:
        return None
    found = [one for element in image if (one := parse_object(element)) is not None]
    for one in found:
        if isinstance(one, str):
            report.drop(one, f"{path.name}, image {name}")
    annotations = tuple(one for one in found if isinstance(one, Annotation))
    size = parse_size(image.get("height"), image.get("width"))
    return Entry(file, annotations, size, len(found) - len(annotations))


def turned(corners: Sequence[float], degrees: float) -> tuple[float, float, float, float]:
    """The box around a box that is turned about its middle."""
    x0, y0, x1, y1 = corners
    if not degrees:
        return (x0, y0, x1, y1)
    middle, half = complex(x0 + x1, y0 + y1) / 2, complex(x1 - x0, y1 - y0) / 2
    turn = cmath.exp(1j * math.radians(degrees))
    points = [middle + turn * z for z in (half, -half, half.conjugate(), -half.conjugate())]
    return around((z.real, z.imag) for z in points)


def parse_object(element: ElementTree.Element) -> Annotation | str | None:
    """An object, the reason why it is dropped, or None where the element is none."""
    if element.tag not in ("box", *OUTLINES, "points", "ellipse", "mask", "cuboid", "skeleton"):
        return None
    name, box = element.get("label", ""), None
    if element.tag == "box":
        corners = numbers(element.get(corner) for corner in CORNERS)
        turn = numbers([element.get("rotation", "0")])
        box = turned(corners, turn[0]) if corners and turn else None
    elif element.tag in OUTLINES:
        pairs = [numbers(pair.split(",")) for pair in element.get("points", "").split(";")]
        points = [(pair[0], pair[1]) for pair in pairs if pair and len(pair) == 2]
        box = around(points) if len(points) == len(pairs) > 1 else None
    if not name or box is None:
        return f"objects dropped that are no box, polygon or polyline with a label ({element.tag})"
    return EMPTY_BOX if box[2] <= box[0] or box[3] <= box[1] else Annotation(box, name)
