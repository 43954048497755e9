"""COCO's json: images, annotations with boxes [x, y, width, height], categories with arbitrary ids.

root/annotations/instances_train2017.json + root/train2017/*.jpg,  root/train/_annotations.coco.json + images, or
one json anywhere in root. Labels are in the order of the categories' ids. An object without a box has that around its
polygons.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework import UserError
from plugins.detection.data.readers.entry import (
    UNKNOWN_CATEGORY,
    Annotation,
    Entry,
    Reading,
    Report,
    around,
    numbers,
    parse_size,
    read_text,
    split_of,
    split_of_folders,
)
from plugins.detection.data.readers.files import Files

# The share of boxes that must look like corners before a file is refused for it.
CORNERS = 0.9


def files(folder: Files) -> list[Path]:
    """The json files that may contain COCO's annotations."""
    found = folder.annotations(".json")
    return [path for path in found if b'"annotations"' in path.read_bytes()]


def split_of_path(path: Path, root: Path) -> str | None:
    return split_of(path.stem) or split_of_folders(path, root)


def without_other_tasks(paths: Mapping[Path, str | None], report: Report) -> dict[Path, str | None]:
    """Files with their splits, without those, such as person_keypoints_*, beside an instances_* of the same split."""
    instances = {(p.parent, s) for p, s in paths.items() if p.stem.startswith("instances")}
    kept = {}
    for path, split in paths.items():
        if path.stem.startswith("instances") or (path.parent, split) not in instances:
            kept[path] = split
        else:
            report.drop("annotation files left out beside instances_*.json", path.name)
    return kept


def is_coco(data: Any) -> bool:
    """Whether it is COCO's json with boxes or polygons; captions have neither categories nor boxes.

    Raises:
        UserError: it has COCO's keys, but no lists in them.
    """
    if not isinstance(data, dict) or not {"images", "annotations"} <= data.keys():
        return False
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key, []), list):
            raise ValueError(f"'{key}' is no list")
    notes = data["annotations"]
    boxed = any(isinstance(n, dict) and ("bbox" in n or "segmentation" in n) for n in notes)
    return "categories" in data and (not notes or boxed)


def read(folder: Files, report: Report) -> Reading:
    """All splits of a folder.

    Raises:
        UserError: a file that is not COCO's json.
    """
    ids: dict[str, Any] = {}
    entries: dict[str | None, list[Entry]] = {}
    splits = {path: split_of_path(path, folder.root) for path in files(folder)}
    for path, split in without_other_tasks(splits, report).items():
        try:
            data = json.loads(read_text(path))
            if not is_coco(data):
                report.drop("annotation files without boxes left out", path.name)
                continue
            names = categories(data, path, report)
            read_entries = read_file(data, names, path, split, folder, report)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"{path}: expected COCO's json; {reason}") from None
        entries.setdefault(split, []).extend(read_entries)
        for number, name in names.items():
            ids.setdefault(name, number)
    labels = sorted(ids, key=lambda name: (isinstance(ids[name], str), ids[name]))
    # Two files may give one number to two categories.
    whole = {name: number for name, number in ids.items() if isinstance(number, int)}
    return Reading(entries, labels, whole if len(set(whole.values())) == len(labels) else {})


def categories(data: dict[str, Any], path: Path, report: Report) -> dict[Any, str]:
    """The categories' names by their ids, without one that is only the parent of the others and has no object.

    Raises:
        UserError: an id with two names.
    """
    names: dict[Any, str] = {}
    for one in data["categories"]:
        number, name = as_id(one["id"]), str(one["name"])
        if names.setdefault(number, name) != name:
            raise UserError(
                f"{path}: category {number} is both '{names[number]}' and '{name}'; expected one name for each id"
            )
    for name, count in Counter(names.values()).items():
        if count > 1:
            report.remark(
                f"{count} categories of {path.name} are called '{name}': they are taken as one"
            )
    parents = {str(one.get("supercategory")) for one in data["categories"]}
    used = {as_id(note.get("category_id")) for note in data["annotations"]}
    return {number: name for number, name in names.items() if number in used or name not in parents}


def as_id(value: Any) -> Any:
    """An id; 3, 3.0 and "3" are the same."""
    try:
        return int(value) if float(value) == int(value) else value
    except (TypeError, ValueError, OverflowError):
        return str(value)


def read_file(
    data: dict[str, Any],
    names: Mapping[Any, str],
    path: Path,
    split: str | None,
    folder: Files,
    report: Report,
) -> list[Entry]:
    """The entries of one file, including images without annotations.

    Raises:
        UserError: an image's id that occurs twice, or boxes that are corners.
    """
    images = {as_id(image["id"]): image for image in data["images"]}
    if len(images) < len(data["images"]):
        files = {as_id(image["id"]): str(image["file_name"]) for image in data["images"]}
        if any(files[as_id(image["id"])] != str(image["file_name"]) for image in data["images"]):
            raise UserError(f"{path}: two images have the same id; expected one image for each")
    refuse_corners(data["annotations"], path)
    annotations: dict[Any, list[Annotation]] = {number: [] for number in images}
    dropped = dict.fromkeys(images, 0)
    for note in data["annotations"]:
        image = as_id(note.get("image_id"))
        place = f"{path.name}, annotation {note.get('id', '?')}"
        found = "objects of unknown images dropped" if image not in images else parse(note, names)
        if isinstance(found, Annotation):
            annotations[image].append(found)
            continue
        report.drop(found, place)
        if image in images:
            dropped[image] += 1
    entries = []
    near = near_folders(path)
    for number, image in images.items():
        file = folder.find([str(image["file_name"])], report, near, split)
        if file is not None:
            size = parse_size(image.get("height"), image.get("width"))
            entries.append(Entry(file, tuple(annotations[number]), size, dropped[number]))
    return entries


def near_folders(path: Path) -> list[Path]:
    """Where the images of an annotation file are looked for first."""
    above = path.parent.parent
    names = [path.stem.removeprefix("instances_"), split_of(path.stem) or ""]
    near = [path.parent, path.parent / "images"]
    near += [base / name for name in names if name for base in (above / "images", above)]
    return [*near, above / "images"]


def parse(note: dict[str, Any], names: Mapping[Any, str]) -> Annotation | str:
    """An object, or the reason why it is dropped."""
    name = names.get(as_id(note.get("category_id")))
    if name is None:
        return UNKNOWN_CATEGORY
    box = corners_of(note)
    if box is None:
        return "objects without a box dropped"
    area = numbers([note["area"]]) if note.get("area") is not None else None
    return Annotation(box, name, as_id(note.get("iscrowd") or 0) == 1, area[0] if area else None)


def corners_of(note: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """The box of an object, or that around its polygons."""
    box = note.get("bbox")
    if isinstance(box, list) and len(box) == 4 and (found := numbers(box)) is not None:
        x, y, width, height = found
        return (x, y, x + width, y + height)
    parts = note.get("segmentation")
    if box or not isinstance(parts, list) or not parts:
        return None
    flat = [numbers(part) if isinstance(part, list) else None for part in parts]
    points = [pair for part in flat if part for pair in zip(part[::2], part[1::2], strict=False)]
    return around(points) if len(points) > 2 and None not in flat else None


def refuse_corners(notes: list[dict[str, Any]], path: Path) -> None:
    """Refuse boxes that are x0, y0, x1, y1: the annotated areas are those of the boxes read so.

    Raises:
        UserError: nine tenths of the boxes are.
    """
    boxes = [(numbers(n.get("bbox") or []), n.get("area")) for n in notes]
    known = [(b, float(a)) for b, a in boxes if b and len(b) == 4 and numbers([a]) and a]
    alike = sum(
        b[2] > b[0]
        and b[3] > b[1]
        and abs((b[2] - b[0]) * (b[3] - b[1]) - a) <= 0.01 * a < 0.5 * abs(b[2] * b[3] - a)
        for b, a in known
    )
    if known and alike >= CORNERS * len(known):
        raise UserError(
            f"{path}: the boxes are corners (their areas are those of x0, y0, x1, y1); "
            "expected COCO's x, y, width, height"
        )
