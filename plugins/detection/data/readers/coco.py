"""COCO's json: images, annotations with boxes [x, y, width, height], categories with arbitrary ids.

root/annotations/instances_train2017.json + root/train2017/*.jpg,  root/train/_annotations.coco.json + images, or
one json anywhere in root.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework import UserError
from plugins.detection.data.readers.entry import (
    Annotation,
    Entry,
    Files,
    Reading,
    Report,
    all_finite,
    parse_size,
    read_text,
    split_of,
    split_of_folder,
)


def files(root: Path) -> list[Path]:
    """The json files that contain annotations."""
    found = [*root.glob("*.json"), *root.glob("annotations/*.json"), *root.glob("*/*.json")]
    return [path for path in sorted(set(found)) if b'"annotations"' in path.read_bytes()]


def recognises(root: Path) -> bool:
    return bool(files(root))


def split_of_path(path: Path, root: Path) -> str | None:
    return split_of(path.stem) or split_of_folder(path, root)


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


def holds_boxes(data: dict[str, Any]) -> bool:
    """Whether it contains boxes: captions have no categories, and panoptic annotations no boxes."""
    notes = data["annotations"]
    return "categories" in data and (not notes or any("bbox" in note for note in notes))


def read(root: Path, report: Report) -> Reading:
    """All splits of a folder.

    Raises:
        UserError: a file that is not COCO's json.
    """
    pictures = Files(root, report)
    names: dict[str, None] = {}
    entries: dict[str | None, list[Entry]] = {}
    splits = {path: split_of_path(path, root) for path in files(root)}
    for path, split in without_other_tasks(splits, report).items():
        try:
            data = json.loads(read_text(path))
            if not holds_boxes(data):
                report.drop("annotation files without boxes left out", path.name)
                continue
            read_entries = read_file(data, path, split, pictures, report)
            names |= dict.fromkeys(str(c["name"]) for c in data["categories"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"{path}: expected COCO's json; {reason}") from None
        entries.setdefault(split, []).extend(read_entries)
    return Reading(entries, list(names))


def read_file(
    data: dict[str, Any], path: Path, split: str | None, pictures: Files, report: Report
) -> list[Entry]:
    """The entries of one file, including images without annotations."""
    names = {c["id"]: str(c["name"]) for c in data["categories"]}
    annotations: dict[Any, list[Annotation]] = {image["id"]: [] for image in data["images"]}
    for note in data["annotations"]:
        place = f"{path.name}, annotation {note.get('id', '?')}"
        if note.get("category_id") not in names:
            report.drop("objects of unknown categories dropped", place)
        elif note.get("image_id") not in annotations:
            report.drop("objects of unknown images dropped", place)
        elif len(box := note.get("bbox") or []) != 4 or not all_finite(box):
            report.drop("objects without a box dropped", place)
        else:
            x, y, width, height = map(float, box)
            area = note.get("area")
            annotations[note["image_id"]].append(
                Annotation(
                    (x, y, x + width, y + height),
                    names[note["category_id"]],
                    bool(note.get("iscrowd", 0)),
                    None if area is None else float(area),
                )
            )
    above = path.parent.parent
    folders = [path.stem.removeprefix("instances_"), split_of(path.stem) or ""]
    near = [path.parent]
    near += [base / folder for folder in folders if folder for base in (above / "images", above)]
    near.append(above / "images")
    entries = []
    for image in data["images"]:
        found = pictures.find([str(image["file_name"])], near, split)
        if found is not None:
            size = parse_size(image.get("height"), image.get("width"))
            entries.append(Entry(found, tuple(annotations[image["id"]]), size))
    return entries
