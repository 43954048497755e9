"""What describes a YOLO data set: data.yaml, darknet's obj.data, lists of names, and lists of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from framework import UserError
from framework.photographs import SUFFIXES
from plugins.detection.data.inside import inside
from plugins.detection.data.readers.entry import Report, numbers, read_text, split_of
from plugins.detection.data.readers.files import Files, shortened

NAMES = ("classes.txt", "obj.names", "labels.txt", "_darknet.labels", "predefined_classes.txt")
SPLITS = ("train", "val", "valid", "test")


@dataclass(frozen=True)
class Description:
    """A data set's description.

    Attributes:
        path: the yaml, obj.data or list of names; None: there is none.
        names: of classes 0, 1, ...; empty: nothing names them.
        splits: for each split the folders and lists of its images, as written.
        base: the folder that these are relative to.
        keypoints: `kpt_shape`, where it is stated.
    """

    path: Path | None
    names: list[str]
    splits: dict[str, list[str]] = field(default_factory=dict)
    base: Path | None = None
    keypoints: tuple[int, ...] = ()


def describe(folder: Files) -> Description:
    """The description of a folder: its yaml with names, else darknet's obj.data, else a list of names.

    Raises:
        UserError: a yaml with aliases, names that are not by number, or another count of them than it says.
    """
    described = [
        (path, found)
        for path in folder.annotations(".yaml", ".yml")
        if (found := read_yaml(path)) is not None
    ]
    if described:
        described.sort(key=lambda one: (len(one[0].parts), one[0].stem not in ("data", "dataset")))
        return of_yaml(*described[0], folder)
    for path in folder.annotations(".data"):
        pairs = dict(line.split("=", 1) for line in read_text(path).splitlines() if "=" in line)
        stated = {key.strip(): value.strip() for key, value in pairs.items()}
        if "names" in stated:
            named = inside(folder.root, folder.root, stated["names"])
            names = named if named is not None and named.is_file() else names_file(folder)
            splits = {key: [stated[key]] for key in SPLITS if key in stated}
            return Description(path, listed_names(names), splits, folder.root)
    names = names_file(folder)
    return Description(names, listed_names(names))


def names_file(folder: Files) -> Path | None:
    """The list of names nearest to the root."""
    found = [
        path for path in folder.all if path.name.lower() in NAMES or path.suffix.lower() == ".names"
    ]
    return min(found, key=lambda path: len(path.parts), default=None)


def listed_names(path: Path | None) -> list[str]:
    lines = [] if path is None else read_text(path).splitlines()
    return [line.strip() for line in lines if line.strip()]


def read_yaml(path: Path) -> dict[str, Any] | None:
    """A mapping with names; None where it is another yaml. Aliases, which can expand without bound, are refused."""
    if "names" not in path.read_text(encoding="utf-8", errors="replace"):
        return None
    text = read_text(path)
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UserError(f"{path}: YAML aliases are refused")
        declared = yaml.safe_load(text)
        # As written: else classes called yes, no, on and off would be True and False.
        as_text = yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {str(error).partition(chr(10))[0]}") from None
    if not isinstance(declared, dict) or "names" not in declared:
        return None
    return declared | {"names": as_text["names"]}


def of_yaml(path: Path, declared: dict[str, Any], folder: Files) -> Description:
    """What a yaml says."""
    names = class_names(declared["names"], path)
    count = declared.get("nc")
    if isinstance(count, int) and count != len(names):
        raise UserError(f"{path}: nc = {count}, but {len(names)} names; expected as many")
    splits: dict[str, list[str]] = {}
    for key in SPLITS:
        places = declared.get(key) or []
        splits[key] = [str(place) for place in (places if isinstance(places, list) else [places])]
    shape = declared.get("kpt_shape") or ()
    if shape and (not isinstance(shape, list) or len(shape) != 2 or shape[1] not in (2, 3)):
        raise UserError(f"{path}: kpt_shape = {shape}: expected [COUNT, 2 or 3]")
    base = path.parent
    if declared.get("path"):
        stated = inside(folder.root, path.parent, str(declared["path"]))
        # Of another machine, as where the set was downloaded: what the splits name is searched for below the root.
        base = stated if stated is not None and stated.is_dir() else base
    return Description(path, names, splits, base, tuple(shape))


def class_names(declared: Any, path: Path) -> list[str]:
    """The names of classes 0, 1, ...

    Raises:
        UserError: keys that are not numbers, or neither a list nor a mapping.
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
    raise UserError(f"{path}: names: {declared!r}: expected a list, or a mapping as in `0: cat`")


def lists_of(folder: Files, described: Description, report: Report) -> dict[str | None, list[Path]]:
    """The images of each split as the description says, else as lists of images named train.txt, val.txt, ... say."""
    found: dict[str | None, list[Path]] = {}
    for key, places in described.splits.items():
        for place in places:
            images = images_at(place, described.base or folder.root, folder, report)
            found.setdefault(split_of(key), []).extend(images or [])
            if images is None:
                why = "folders and lists of the yaml left out that do not exist"
                report.drop(why, f"{key}: {place}")
    if any(found.values()):
        return {split: list(dict.fromkeys(images)) for split, images in found.items()}
    for path in folder.all:
        if path.suffix.lower() == ".txt" and path.stem.lower() in SPLITS and lists_images(path):
            found.setdefault(split_of(path.stem), []).extend(listed_images(path, folder, report))
    return {split: list(dict.fromkeys(images)) for split, images in found.items() if images}


def images_at(place: str, base: Path, folder: Files, report: Report) -> list[Path] | None:
    """The images of a folder, or of a text file that lists them, where it exists; nothing outside root is taken.

    Roboflow's ../train/images is looked for in root, and so is the end of another machine's path.
    """
    parts = Path(place.replace("\\", "/")).parts
    ends = [str(Path(*parts[i:])) for i in range(len(parts)) if parts[i] not in ("/", "..", ".")]
    tried = [(base, place), (folder.root, place), *((folder.root, end) for end in ends)]
    for start, name in tried:
        path = inside(folder.root, start, name)
        # Not the root itself, which every list of another machine would end in.
        if path is None or (path == folder.root and name != place):
            continue
        if os.path.isdir(path):
            return [image for image in folder.images if path in image.parents]
        if os.path.isfile(path):
            return listed_images(path, folder, report)
    return None


def lists_images(path: Path) -> bool:
    """Whether a text file's first line names an image."""
    first = next((line for line in read_text(path).splitlines() if line.strip()), "")
    return Path(first.strip()).suffix.lower() in SUFFIXES and numbers(first.split()) is None


def listed_images(path: Path, folder: Files, report: Report) -> list[Path]:
    """The images that a text file names: relative to its folder or the root, or, of another machine, by their ends."""
    found = []
    for line in filter(None, map(str.strip, read_text(path).splitlines())):
        image = one_listed(line, path, folder)
        if isinstance(image, str):
            report.drop(image, shortened(line))
        else:
            found.append(image)
    return found


def one_listed(line: str, path: Path, folder: Files) -> Path | str:
    """An image, or the reason why it is dropped."""
    at = folder.at(line, [path.parent])
    candidates: Sequence[Path] = at or folder.anywhere(line, split_of(path.stem))
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        return "images dropped whose names several files have"
    outside = inside(folder.root, path.parent, line.replace("\\", "/")) is None
    why = "whose names lead out of the folder" if outside else "whose files are missing"
    return f"images dropped {why}"
