"""Data sets written small, for tests: files by name, and what is read from them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from plugins.detection.data.folder import FolderSplits

# Of every image: width and height.
SIZE = (60, 40)
IMAGES = (".png", ".jpg", ".jpeg", ".jfif", ".avif", ".mpo", ".webp")
Read = dict[str, list[tuple[str, list[float]]]]


def plant(root: Path, files: Mapping[str, Any]) -> None:
    """Write files: images of noise by the number in their place (equal numbers: equal images), texts, json."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif path.suffix.lower() in IMAGES:
            image(path, content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))


def image(path: Path, seed: int) -> None:
    coarse = numpy.random.default_rng(seed).integers(0, 256, (5, 8, 3)).astype(numpy.uint8)
    picture = Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)
    formats = {".jfif": "JPEG", ".mpo": "MPO"}
    picture.save(path, formats.get(path.suffix.lower()))


def what_is_read(opened: FolderSplits) -> Read:
    """The objects of each image by its name."""
    found = {}
    for part in (opened.train, opened.validation, opened.test):
        for entry in part.entries:
            objects = [(a.name, [round(v, 2) for v in a.box]) for a in entry.annotations]
            found[entry.path.name] = sorted(objects)
    return found


def by_split(opened: FolderSplits) -> dict[str, list[str]]:
    """The images' names by split."""
    parts = {"train": opened.train, "validation": opened.validation, "test": opened.test}
    return {name: sorted(e.path.name for e in part.entries) for name, part in parts.items()}


def voc(box: tuple[float, ...] = (11, 6, 20, 15), filename: str = "", name: str = "cat") -> str:
    """An annotation in Pascal VOC's form; by default of the box 10, 5, 20, 15."""
    corners = "".join(
        f"<{key}>{value}</{key}>"
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return (
        f"<annotation><filename>{filename}</filename><object><name>{name}</name>"
        f"<bndbox>{corners}</bndbox></object></annotation>"
    )


def coco(names: list[str], **more: Any) -> dict[str, Any]:
    """COCO's json with one cat at 10, 5, 20, 15 in each image; `more` is added to each object."""
    note = {"category_id": 1, "bbox": [10, 5, 10, 10]} | more
    return {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": n} | note for n in range(len(names))],
        "categories": [{"id": 1, "name": "cat"}],
    }
