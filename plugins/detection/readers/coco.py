"""COCO's json: images, annotations with boxes [x, y, width, height], categories with ids of any kind.

root/annotations/instances_train2017.json + root/train2017/*.jpg,  root/train/_annotations.coco.json + images, or
one json anywhere in root.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from framework import UserError
from plugins.detection.readers.entry import Entry, Files, Reading, Report, Thing, split_of, whole


def files(root: Path) -> list[Path]:
    """The json files that hold annotations."""
    found = [*root.glob("*.json"), *root.glob("annotations/*.json"), *root.glob("*/*.json")]
    return [path for path in sorted(set(found)) if b'"annotations"' in path.read_bytes()]


def recognises(root: Path) -> bool:
    return bool(files(root))


def read(root: Path, report: Report) -> Reading:
    """All splits of a folder.

    Raises:
        UserError: a file that is not COCO's json.
    """
    pictures = Files(root)
    names: dict[str, None] = {}
    entries: dict[str | None, list[Entry]] = {}
    for path in files(root):
        split = split_of(path.stem) or split_of(path.parent.name)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            made = read_file(data, path, pictures, report)
            names |= dict.fromkeys(str(c["name"]) for c in data["categories"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"{path}: expected COCO's json; {reason}") from None
        entries.setdefault(split, []).extend(made)
    return Reading(entries, list(names))


def read_file(data: dict[str, Any], path: Path, pictures: Files, report: Report) -> list[Entry]:
    """The entries of one file, images without annotations included."""
    names = {c["id"]: str(c["name"]) for c in data["categories"]}
    things: dict[Any, list[Thing]] = {image["id"]: [] for image in data["images"]}
    for note in data["annotations"]:
        place = f"{path.name}, annotation {note.get('id', '?')}"
        if note.get("category_id") not in names:
            report.drop("objects of unknown categories dropped", place)
        elif note.get("image_id") not in things:
            report.drop("objects of unknown images dropped", place)
        elif len(box := note.get("bbox") or []) != 4 or not whole(box):
            report.drop("objects without a box dropped", place)
        else:
            x, y, width, height = map(float, box)
            area = note.get("area")
            things[note["image_id"]].append(
                Thing(
                    (x, y, x + width, y + height),
                    names[note["category_id"]],
                    bool(note.get("iscrowd", 0)),
                    None if area is None else float(area),
                )
            )
    near = [path.parent, path.parent.parent / "images"]
    folders = [path.stem.removeprefix("instances_"), split_of(path.stem) or ""]
    near += [path.parent.parent / folder for folder in folders if folder]
    entries = []
    for image in data["images"]:
        found = pictures.find(str(image["file_name"]), near)
        if found is None:
            report.drop("images dropped whose files are missing", str(image["file_name"]))
        else:
            entries.append(Entry(found, tuple(things[image["id"]])))
    return entries
