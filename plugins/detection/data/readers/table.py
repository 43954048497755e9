"""CSV: one line for each object; an image without objects has a line without a box.

The header's columns are recognised by their usual names: image, filename, file or path; class, label, category or name;
xmin ymin xmax ymax, x0 y0 x1 y1 or x1 y1 x2 y2, or x y w h (x y width height); split or set. Without a header the
columns are path, x0, y0, x1, y1, class. Corners are edges: a box of the first pixel alone is 0, 0, 1, 1.
Semicolons or tabs may replace the commas. Files named train.csv, val.csv and test.csv are these splits.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from framework import UserError
from plugins.detection.data.readers.entry import (
    Annotation,
    Entry,
    Files,
    Reading,
    Report,
    all_finite,
    read_text,
    split_of,
    split_of_folder,
)

SPELLINGS = {
    "image": ("image", "filename", "file", "path", "file_name", "image_path", "image_id"),
    "name": ("class", "label", "category", "name", "class_name"),
    "split": ("split", "set", "subset"),
}
BOXES = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
SIZED = (("x", "y", "w", "h"), ("x", "y", "width", "height"))
PLAIN = ["path", "x0", "y0", "x1", "y1", "class"]


def files(root: Path) -> list[Path]:
    return sorted([*root.glob("*.csv"), *root.glob("*/*.csv")])


def recognises(root: Path) -> bool:
    return bool(files(root))


def read(root: Path, report: Report) -> Reading:
    """All splits of a folder.

    Raises:
        UserError: a file without the required columns.
    """
    pictures = Files(root, report)
    found: dict[tuple[str | None, Path, str], list[Annotation]] = {}
    for path in files(root):
        for image, split, annotation in rows(path, root, report):
            annotations = found.setdefault((split, path.parent, image), [])
            if annotation is not None:
                annotations.append(annotation)
    entries: dict[str | None, list[Entry]] = {}
    names: set[str] = set()
    for (split, folder, image), annotations in found.items():
        file = pictures.find([image], [folder, folder / "images"], split)
        if file is None:
            continue
        names |= {annotation.name for annotation in annotations}
        entries.setdefault(split, []).append(Entry(file, tuple(annotations)))
    return Reading(entries, sorted(names))


def rows(
    path: Path, root: Path, report: Report
) -> Iterator[tuple[str, str | None, Annotation | None]]:
    """Image, split and object of each line; no object where the box is empty or invalid."""
    lines = numbered(path)
    header = [cell.strip().lower() for cell in lines[0][1]] if lines else []
    if any(cell in SPELLINGS["image"] for cell in header):
        lines = lines[1:]
    else:
        header = PLAIN
    image, name, split = (column(header, SPELLINGS[key]) for key in ("image", "name", "split"))
    box, sized = box_columns(header, path)
    if image is None or name is None:
        raise UserError(f"{path}: expected a column for the image and one for the class")
    own = split_of(path.stem) or split_of_folder(path, root)
    for number, line in lines:
        cells = line + [""] * (len(header) - len(line))
        part = split_of(cells[split]) if split is not None else own
        texts = [cells[i].strip() for i in box]
        if not any(texts):
            yield cells[image], part, None
            continue
        annotation = parse_box(texts, sized, cells[name].strip())
        if annotation is None:
            report.drop(
                "lines dropped without four numbers and a class", f"{path.name}, line {number}"
            )
        yield cells[image], part, annotation


def numbered(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers; the first line shows the delimiter: , ; or tab."""
    text = read_text(path)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        return [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None


def column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def box_columns(header: list[str], path: Path) -> tuple[list[int], bool]:
    """The columns of the box, and whether they are a corner and a size."""
    for spellings, sized in ((BOXES, False), (SIZED, True)):
        for names in spellings:
            if all(name in header for name in names):
                return [header.index(name) for name in names], sized
    raise UserError(f"{path}: expected columns xmin, ymin, xmax, ymax (or x, y, width, height)")


def parse_box(texts: list[str], sized: bool, name: str) -> Annotation | None:
    try:
        a, b, c, d = map(float, texts)
    except ValueError:
        return None
    if not name or not all_finite((a, b, c, d)):
        return None
    return Annotation((a, b, a + c, b + d) if sized else (a, b, c, d), name)
