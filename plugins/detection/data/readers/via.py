"""The VGG Image Annotator's json: one file for many images; circles, ellipses and polygons become boxes.

{"a.jpg123": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "rect", "x", "y", "width", "height"},
"region_attributes": {"label": "cat"}}]}}, by itself or as `_via_img_metadata` of a project. An object's category is
its one region attribute, or that which is called label, class, name, type or category.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
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
    read_text,
    split_of,
    split_of_folders,
)
from plugins.detection.data.readers.files import Files

NAMES = ("label", "class", "name", "type", "category", "object", "class_name")


def files(folder: Files) -> list[Path]:
    found = []
    for path in folder.annotations(".json"):
        data = path.read_bytes()
        if b'"regions"' in data and b'"filename"' in data:
            found.append(path)
    return found


def read(folder: Files, report: Report) -> Reading:
    """All files of a folder.

    Raises:
        UserError: a file that is not VIA's json.
    """
    entries: dict[str | None, list[Entry]] = {}
    for path in files(folder):
        split = split_of(path.stem) or split_of_folders(path, folder.root)
        try:
            data = json.loads(read_text(path))
            data = data.get("_via_img_metadata", data)
            images = [one for one in data.values() if isinstance(one, dict) and "filename" in one]
            read_images = [(str(one["filename"]), regions_of(one)) for one in images]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"{path}: expected VIA's json; {reason}") from None
        near = [path.parent, path.parent / "images", path.parent.parent / "images"]
        for name, found in read_images:
            file = folder.find([name], report, near, split)
            if file is None:
                continue
            for one in found:
                if isinstance(one, str):
                    report.drop(one, f"{path.name}, {name}")
            annotations = tuple(one for one in found if isinstance(one, Annotation))
            dropped = len(found) - len(annotations)
            entries.setdefault(split, []).append(Entry(file, annotations, None, dropped))
    used = (a.name for part in entries.values() for entry in part for a in entry.annotations)
    return Reading(entries, in_natural_order(used))


def regions_of(image: dict[str, Any]) -> list[Annotation | str]:
    """The objects of an image; older versions number them in a mapping."""
    regions = image.get("regions") or []
    listed: Iterable[dict[str, Any]] = regions.values() if isinstance(regions, dict) else regions
    return [parse(one["shape_attributes"], one.get("region_attributes") or {}) for one in listed]


def parse(shape: dict[str, Any], attributes: dict[str, Any]) -> Annotation | str:
    """An object, or the reason why it is dropped."""
    name = name_of(attributes)
    if name is None:
        return "regions dropped without an attribute that names their category"
    box = box_of(shape)
    if box is None:
        return f"regions dropped that have no area ({shape.get('name')})"
    return EMPTY_BOX if box[2] <= box[0] or box[3] <= box[1] else Annotation(box, name)


def name_of(attributes: dict[str, Any]) -> str | None:
    """The category among a region's attributes; of checkboxes the only one that is set."""
    known = {key.lower(): value for key, value in attributes.items()}
    value = next((known[name] for name in NAMES if known.get(name)), None)
    if value is None and len(known) == 1:
        (value,) = known.values()
    if isinstance(value, dict):
        chosen = [key for key, on in value.items() if on]
        value = chosen[0] if len(chosen) == 1 else None
    return str(value).strip() or None if value is not None else None


def box_of(shape: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """The box around a region."""
    kind = shape.get("name")
    if kind == "rect":
        keys = numbers(shape.get(key) for key in ("x", "y", "width", "height"))
        return (keys[0], keys[1], keys[0] + keys[2], keys[1] + keys[3]) if keys else None
    if kind in ("circle", "ellipse"):
        sides = ("r", "r") if kind == "circle" else ("rx", "ry")
        keys = numbers(shape.get(key) for key in ("cx", "cy", *sides))
        # An ellipse may be turned: its box is not larger than that of the circle around it.
        turned = kind == "ellipse" and float(shape.get("theta") or 0) != 0
        if keys is None or turned:
            return None
        x, y, a, b = keys
        return (x - a, y - b, x + a, y + b)
    xs, ys = (numbers(shape.get(f"all_points_{axis}") or []) for axis in "xy")
    return around(zip(xs, ys, strict=False)) if xs and ys and len(xs) == len(ys) > 1 else None
