"""YOLO's text files: one for each image, a line `class x y width height` for each object, as fractions of the image.

    root/data.yaml (names; train, val and test: folders, lists of images, or several) or root/classes.txt,
    root/images/... + root/labels/... with the same names, or both side by side.

An image without a text file has no objects. A line with more numbers is a polygon, of which the bounding box is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from framework import UserError
from framework.photographs import size_of
from plugins.detection.data.inside import inside
from plugins.detection.data.readers.entry import (
    IMAGES,
    Annotation,
    Entry,
    Reading,
    Report,
    all_finite,
    read_text,
    split_of,
)

NAMES = ("classes.txt", "obj.names", "labels.txt")


def description(root: Path) -> Path | None:
    """The folder's yaml with class names, where there is one."""
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        if "names" in path.read_text(encoding="utf-8", errors="replace"):
            return path
    return None


def recognises(root: Path) -> bool:
    named = description(root) is not None or any((root / name).is_file() for name in NAMES)
    return named or (root / "labels").is_dir()


def read(root: Path, report: Report) -> Reading:
    """All splits of a folder.

    Raises:
        UserError: a yaml that cannot be read.
    """
    path = description(root)
    declared = read_yaml(path) if path else {}
    names = class_names(declared.get("names"), root, path)
    entries: dict[str | None, list[Entry]] = {}
    for split, images in splits(root, declared, report).items():
        read_entries = [entry(image, names, report) for image in images]
        entries[split] = [one for one in read_entries if one is not None]
    return Reading(entries, names)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping; aliases, which can expand without bound, are refused."""
    text = read_text(path)
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UserError(f"{path}: YAML aliases are refused")
        declared = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {str(error).partition(chr(10))[0]}") from None
    if not isinstance(declared, dict):
        raise UserError(f"{path}: expected a mapping of keys")
    return declared


def class_names(declared: Any, root: Path, path: Path | None) -> list[str]:
    """The names of classes 0, 1, ..., from the yaml or a list of names; numbers where there is neither.

    Raises:
        UserError: keys of the yaml's names that are not numbers.
    """
    if isinstance(declared, dict):
        for key in declared:
            if not str(key).isdecimal():
                raise UserError(
                    f"{path}: names: '{key}': expected a class's number, as in `0: cat`"
                )
        names = {int(key): str(name) for key, name in declared.items()}
        return [names.get(i, str(i)) for i in range(max(names, default=-1) + 1)]
    if isinstance(declared, list):
        return [str(name) for name in declared]
    for name in NAMES:
        if (root / name).is_file():
            lines = read_text(root / name).splitlines()
            return [line.strip() for line in lines if line.strip()]
    highest = -1
    for path in root.rglob("labels/**/*.txt"):
        firsts = (line.split()[0] for line in read_text(path).splitlines() if line.split())
        highest = max([highest, *(int(first) for first in firsts if first.isdecimal())])
    return [str(number) for number in range(highest + 1)]


def splits(root: Path, declared: dict[str, Any], report: Report) -> dict[str | None, list[Path]]:
    """The images of each split: as the yaml says, else by the names of folders."""
    base = root / str(declared.get("path", "")) if declared.get("path") else root
    found: dict[str | None, list[Path]] = {}
    for key in ("train", "val", "test"):
        places = declared.get(key) or []
        for place in places if isinstance(places, list) else [places]:
            images = images_at(str(place), base, root, report)
            found.setdefault(split_of(key), []).extend(images or [])
            if images is None:
                why = "folders and lists of the yaml left out that do not exist"
                report.drop(why, f"{key}: {place}")
    if any(found.values()):
        return found
    for image in images_in(root):
        parts = image.relative_to(root).parts[:-1]
        split = next((s for part in parts if (s := split_of(part))), None)
        found.setdefault(split, []).append(image)
    return found


def images_at(place: str, base: Path, root: Path, report: Report) -> list[Path] | None:
    """The images of a folder, or of a text file that lists them, where it exists; nothing outside root is taken.

    Roboflow's ../train/images is looked for in root.
    """
    tried = (inside(root, base, place), inside(root, root, place))
    for path in (*tried, inside(root, root, place.removeprefix("../"))):
        if path is not None and os.path.isdir(path):
            return images_in(path)
        if path is not None and os.path.isfile(path):
            return listed_images(path, root, report)
    return None


def listed_images(path: Path, root: Path, report: Report) -> list[Path]:
    """The images that a text file names, relative to its folder."""
    found = []
    for line in filter(None, map(str.strip, read_text(path).splitlines())):
        image = inside(root, path.parent, line)
        if image is None:
            report.drop("images dropped whose names lead out of the folder", line)
        else:
            found.append(image)
    return found


def images_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGES]


def labels_of(image: Path) -> Path:
    """The text file of an image: .../labels/... for .../images/..., or beside it."""
    parts = list(image.parts)
    for i in reversed(range(len(parts) - 1)):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def entry(image: Path, names: list[str], report: Report) -> Entry | None:
    """An image with the objects of its text file."""
    if not os.path.isfile(image):
        report.drop("images dropped whose files are missing", image.name)
        return None
    path = labels_of(image)
    lines = read_text(path).splitlines() if path.is_file() else []
    size = size_of(image) if lines else None
    if lines and size is None:
        # Unreadable: reported when it is opened.
        return Entry(image, ())
    height, width = size or (1, 1)
    annotations = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        annotation = parse_line(line, width, height, names)
        if isinstance(annotation, str):
            report.drop(annotation, f"{path.name}, line {number}")
        else:
            annotations.append(annotation)
    return Entry(image, tuple(annotations))


def parse_line(line: str, width: int, height: int, names: list[str]) -> Annotation | str:
    """An object, or the reason why the line is dropped."""
    words = line.split()
    try:
        numbers = [float(word) for word in words[1:]]
        label = int(words[0])
    except ValueError:
        return "lines dropped that are not `class x y width height`"
    if len(numbers) < 4 or len(numbers) % 2 or not all_finite(numbers):
        return "lines dropped that are not `class x y width height`"
    if not 0 <= label < len(names):
        return "objects of unknown categories dropped"
    if len(numbers) == 4:
        x, y, w, h = numbers
        corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    else:
        xs, ys = numbers[::2], numbers[1::2]
        corners = (min(xs), min(ys), max(xs), max(ys))
    x0, y0, x1, y1 = corners
    return Annotation((x0 * width, y0 * height, x1 * width, y1 * height), names[label])
