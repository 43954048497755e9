"""labelme's json: one file for each image, with shapes; polygons, circles and rectangles become boxes.

{"imagePath": "a.jpg", "shapes": [{"label": "cat", "shape_type": "rectangle", "points": [[x, y], [x, y]]}]}
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

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
    read_text,
    split_of_folders,
)
from plugins.detection.data.readers.files import Files, folded

OUTLINES = ("polygon", "rectangle", "linestrip", "rotation", "rotated_rectangle", "mask")


def files(folder: Files) -> list[Path]:
    found = []
    for path in folder.annotations(".json"):
        data = path.read_bytes()
        if b'"shapes"' in data and b'"imagePath"' in data:
            found.append(path)
    return found


def read(folder: Files, report: Report) -> Reading:
    """All files of a folder.

    Raises:
        UserError: a file that is not labelme's json.
    """
    entries: dict[str | None, list[Entry]] = {}
    for path in files(folder):
        try:
            data = json.loads(read_text(path))
            found = [parse(shape) for shape in data["shapes"]]
            name = str(data["imagePath"])
            size = parse_size(data.get("imageHeight"), data.get("imageWidth"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"{path}: expected labelme's json; {reason}") from None
        split = split_of_folders(path, folder.root)
        near = [path.parent, path.parent.parent / "images", path.parent.parent]
        same = [p for p in folder.by_stem.get(folded(path.stem), []) if p.parent in near]
        image = same[0] if same else folder.find([name, path.stem], report, near, split)
        if image is None:
            continue
        for one in found:
            if isinstance(one, str):
                report.drop(one, path.name)
        annotations = tuple(one for one in found if isinstance(one, Annotation))
        dropped = len(found) - len(annotations)
        entries.setdefault(split, []).append(Entry(image, annotations, size, dropped))
    used = (a.name for part in entries.values() for entry in part for a in entry.annotations)
    return Reading(entries, in_natural_order(used))


def parse(shape: dict[str, Any]) -> Annotation | str:
    """An object, or the reason why it is dropped."""
    kind, name = shape.get("shape_type", "polygon"), str(shape.get("label") or "")
    pairs = [numbers(point) for point in shape["points"]]
    points = [(pair[0], pair[1]) for pair in pairs if pair and len(pair) == 2]
    if kind not in (*OUTLINES, "circle"):
        return f"shapes dropped that have no area ({kind})"
    if not name or len(points) < len(pairs) or len(points) < 2:
        return "shapes dropped without a label or two points"
    if kind == "circle":
        (x, y), radius = points[0], math.dist(*points[:2])
        points = [(x - radius, y - radius), (x + radius, y + radius)]
    box = around(points)
    return EMPTY_BOX if box[2] <= box[0] or box[3] <= box[1] else Annotation(box, name)
