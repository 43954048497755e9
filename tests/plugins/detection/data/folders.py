"""Data sets written small, for tests: files by name, and what is read from them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from plugins.detection.data.folder import Folder, FolderSplits

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


def picture(path: Path, height: int = 40, width: int = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numpy.zeros((height, width, 3), numpy.uint8)).save(path)


def named(folder: Folder, index: int) -> list[tuple[str, list[float]]]:
    sample = folder.sample(index)
    names = [folder.categories[label] for label in sample.labels.tolist()]
    return sorted(zip(names, sample.boxes.tolist(), strict=True))


def marked(path: Path, value: int) -> None:
    """A picture that can be reported by its grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numpy.full((40, 60, 3), value, numpy.uint8)).save(path)


def coco_json(path: Path, names, *, categories=("x",), box=(1, 1, 9, 9), **more) -> None:
    """An annotation file with one object in each image."""
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    notes = [
        {"id": n, "image_id": n, "category_id": n % len(categories), "bbox": list(box)} | more
        for n in range(len(images))
    ]
    kinds = [{"id": n, "name": name} for n, name in enumerate(categories)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": notes, "categories": kinds}))


# A square of ten pixels, in every format.
SQUARE = {
    "voc": (
        "a.xml",
        "<annotation><filename>a.png</filename><object><name>square</name><bndbox><xmin>21</xmin>"
        "<ymin>6</ymin><xmax>30</xmax><ymax>15</ymax></bndbox></object></annotation>",
    ),
    "coco": (
        "a.json",
        json.dumps(
            {
                "images": [{"id": 5, "file_name": "a.png", "width": 60, "height": 40}],
                "annotations": [
                    {"id": 9, "image_id": 5, "category_id": 7, "bbox": [20, 5, 10, 10]}
                ],
                "categories": [{"id": 7, "name": "square"}],
            }
        ),
    ),
    "csv": ("a.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,square,20,5,30,15\n"),
}
