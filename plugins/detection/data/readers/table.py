"""CSV: one line for each object; an image without objects has a line without a box.

`header.py` has the columns' names. Without a header the columns are path, x0, y0, x1, y1, class. Corners are edges: a
box of the first pixel alone is 0, 0, 1, 1. A `bbox` column holds [x, y, width, height]. Numbers that are all from 0 to
1 are fractions of the image (Open Images, whose names of labels are in class-descriptions*.csv). Semicolons or tabs
may replace the commas, which may then stand for decimal points. Files named train.csv, val.csv and test.csv are these
splits; sample_submission.csv is none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework import UserError
from framework.photographs import size_of
from plugins.detection.data.readers.entry import (
    EMPTY_BOX,
    Annotation,
    Entry,
    Reading,
    Report,
    in_natural_order,
    numbers,
    parse_size,
    read_text,
    split_of,
    split_of_folders,
)
from plugins.detection.data.readers.files import Files
from plugins.detection.data.readers.header import Columns, columns_of, is_number

# A table without classes, such as of wheat heads, is of one.
ONE_CLASS = "object"
UNPARSED = "lines dropped without four numbers and a class"


@dataclass(frozen=True)
class Row:
    """A line: its image, split, box as four numbers or why there is none (None: no object), and what else it says."""

    image: str
    split: str | None
    box: list[float] | str | None
    name: str
    crowd: bool
    size: tuple[int, int] | None
    place: str


@dataclass(frozen=True)
class Table:
    """A file that was understood: what its numbers are, whether they are fractions, and its lines."""

    path: Path
    columns: Columns
    fractions: bool
    rows: list[Row]


def files(folder: Files) -> list[Path]:
    """The tables, without examples of submissions and names of classes."""
    found = folder.annotations(".csv", ".tsv")
    return [p for p in found if "submission" not in p.stem.lower() and not describes(p)]


def describes(path: Path) -> bool:
    """Whether it is Open Images' list of the labels' names."""
    return path.stem.startswith(("class-descriptions", "class_descriptions"))


def read(folder: Files, report: Report) -> Reading:
    """All splits of a folder.

    Raises:
        UserError: no file has the required columns.
    """
    tables: list[Table] = []
    refused: dict[Path, UserError] = {}
    for path in files(folder):
        try:
            tables.append(read_table(path, folder.root, report))
        except UserError as error:
            refused[path] = error
    if not tables:
        if not refused:
            raise UserError(f"{folder.root}: no csv")
        # The largest one is likeliest the one that is meant.
        raise refused[max(refused, key=lambda path: path.stat().st_size)]
    for why in refused.values():
        report.drop("tables left out that hold no objects", str(why))
    names = descriptions(folder)
    entries: dict[str | None, list[Entry]] = {}
    for table in tables:
        for split, entry in entries_of(table, folder, names, report):
            entries.setdefault(split, []).append(entry)
    used = (a.name for part in entries.values() for entry in part for a in entry.annotations)
    return Reading(entries, in_natural_order(used))


def read_table(path: Path, root: Path, report: Report) -> Table:
    """A file's lines.

    Raises:
        UserError: it is empty, or has no known columns.
    """
    delimiter, lines = numbered(path)
    columns = columns_of(lines[0][1]) if lines else "it is empty"
    if isinstance(columns, str):
        raise UserError(f"{path}: {columns}")
    if columns.name is None:
        report.remark(f"{path.name} has no column of classes: all objects are '{ONE_CLASS}'")
    own = split_of(path.stem) or split_of_folders(path, root)
    body = lines[1:] if columns.header else lines
    if delimiter != "," and columns.kind != "cell":
        body = [(n, with_points(line, columns.box)) for n, line in body]
    rows = [row_of(line, columns, own, f"{path.name}, line {n}") for n, line in body]
    values = [v for row in rows if isinstance(row.box, list) for v in row.box]
    fractions = bool(values) and all(0 <= v <= 1 for v in values) and any(v % 1 for v in values)
    return Table(path, columns, fractions, rows)


def with_points(line: Sequence[str], columns: Sequence[int]) -> list[str]:
    """A line with decimal points for the decimal commas in some columns."""
    return [cell.replace(",", ".") if i in columns else cell for i, cell in enumerate(line)]


def row_of(line: Sequence[str], columns: Columns, own: str | None, place: str) -> Row:
    """One line."""

    def cell(index: int | None) -> str:
        return line[index].strip() if index is not None and index < len(line) else ""

    texts = [cell(index) for index in columns.box]
    if columns.kind == "cell":
        texts = texts[0].strip("[]()").replace(",", " ").split() if texts[0] else [""]
    name = cell(columns.name) if columns.name is not None else ONE_CLASS
    box: list[float] | str | None = None
    if any(texts):
        box = numbers(texts) if len(texts) == 4 else None
        box = UNPARSED if box is None or not name else box
    split = (split_of(cell(columns.split)) or own) if columns.split is not None else own
    size = None
    if columns.size is not None:
        size = parse_size(*(cell(index) for index in columns.size))
    crowd = is_number(cell(columns.crowd)) and float(cell(columns.crowd)) == 1
    return Row(cell(columns.image), split, box, name, crowd, size, place)


def entries_of(
    table: Table, folder: Files, names: Mapping[str, str], report: Report
) -> list[tuple[str | None, Entry]]:
    """The images of a table with their splits."""
    by_image: dict[tuple[str | None, str], list[Row]] = {}
    for row in table.rows:
        by_image.setdefault((row.split, row.image), []).append(row)
    near = [table.path.parent, table.path.parent / "images"]
    found = []
    for (split, image), rows in by_image.items():
        file = folder.find([image], report, near, split)
        if file is None:
            continue
        scale = size_of(file) if table.fractions else (1, 1)
        objects = [parse(row, table, scale or (1, 1), names) for row in rows if row.box is not None]
        for one, row in zip(objects, (r for r in rows if r.box is not None), strict=True):
            if isinstance(one, str):
                report.drop(one, row.place)
        annotations = tuple(one for one in objects if isinstance(one, Annotation))
        dropped = len(objects) - len(annotations)
        found.append((split, Entry(file, annotations, rows[0].size, dropped)))
    return found


def parse(
    row: Row, table: Table, scale: tuple[int, int], names: Mapping[str, str]
) -> Annotation | str:
    """An object, or the reason why it is dropped; `scale`: (height, width) by which fractions are multiplied."""
    if not isinstance(row.box, list):
        return row.box or UNPARSED
    a, b, c, d = row.box
    if table.columns.kind == "centred":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    elif table.columns.kind != "corners":
        c, d = a + c, b + d
    if c <= a or d <= b:
        return EMPTY_BOX
    height, width = scale
    box = (a * width, b * height, c * width, d * height)
    return Annotation(box, names.get(row.name, row.name), row.crowd)


def descriptions(folder: Files) -> dict[str, str]:
    """The names of Open Images' labels by their codes, where the folder has them."""
    paths = [path for path in folder.all if path.suffix == ".csv" and describes(path)]
    lines = [line for path in paths for _, line in numbered(path)[1]]
    return {line[0].strip(): line[1].strip() for line in lines if len(line) == 2}


def numbered(path: Path) -> tuple[str, list[tuple[int, list[str]]]]:
    """The delimiter, which the first line shows (, ; or tab), and the lines that are not empty with their numbers."""
    text = read_text(path)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None
    return delimiter, lines
