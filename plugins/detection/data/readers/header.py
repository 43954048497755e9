"""The columns of a table of objects, by the names that exports give them.

A name counts without case, spaces and signs, and without `bbox`, `box`, `bb` or `roi` in front: `bbox_x`, `BBox X` and
`x` are the same. A header in which a needed column has no known name is refused with what it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

IMAGE = (
    *("image", "filename", "file", "path", "imagepath", "imageid", "imgname", "imagename", "img"),
    *("imgid", "imgpath", "filepath", "fname", "imagefilename", "imagefile", "photo", "patientid"),
)
NAME = (
    *("class", "label", "category", "name", "classname", "labelname", "categoryname", "cls"),
    *("object", "objectname", "objectclass", "classlabel", "tag", "type"),
    *("classid", "labelid", "categoryid", "target"),
)
SPLIT = ("split", "set", "subset", "dataset", "usage", "partition", "fold")
CROWD = ("isgroupof", "iscrowd")
CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("xtl", "ytl", "xbr", "ybr"),
    ("xtopleft", "ytopleft", "xbottomright", "ybottomright"),
    ("startx", "starty", "endx", "endy"),
)
SIZED = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("left", "top", "width", "height"),
    ("left", "top", "w", "h"),
    ("xmin", "ymin", "width", "height"),
    ("xmin", "ymin", "w", "h"),
)
CENTRED = (
    ("xcenter", "ycenter", "width", "height"),
    ("xcentre", "ycentre", "width", "height"),
    ("centerx", "centery", "width", "height"),
    ("cx", "cy", "w", "h"),
    ("xc", "yc", "w", "h"),
    ("cx", "cy", "width", "height"),
    ("xcenter", "ycenter", "w", "h"),
)
ONE_CELL = ("bbox", "bboxes", "box", "boundingbox")
PREFIXES = ("boundingbox", "bbox", "bndbox", "box", "bb", "roi")
Kind = Literal["corners", "sized", "centred", "cell"]


@dataclass(frozen=True)
class Columns:
    """Where a table holds what, by index.

    Attributes:
        image, name, split, crowd: one column; None where there is none.
        box: the four columns of the box, or the one that holds all of it.
        kind: what the four numbers are.
        size: the columns of the image's (height, width), where it has them.
        header: whether the first line is a header.
    """

    image: int
    name: int | None
    box: tuple[int, ...]
    kind: Kind
    split: int | None = None
    crowd: int | None = None
    size: tuple[int, int] | None = None
    header: bool = True


# Without a header: path, x0, y0, x1, y1, class.
PLAIN = Columns(0, 5, (1, 2, 3, 4), "corners", header=False)
# As makesense.ai writes it: class, x, y, width, height, image, and its width and height.
MAKE_SENSE = Columns(5, 0, (1, 2, 3, 4), "sized", size=(7, 6), header=False)


def columns_of(first: Sequence[str]) -> Columns | str:
    """The columns that a table's first line names, or why it cannot be understood.

    A first line whose cells 2 to 5 of 6 are numbers, or empty, is no header, and neither is makesense.ai's.
    """
    if len(first) == 6 and all(is_number(cell) or not cell.strip() for cell in first[1:5]):
        return PLAIN
    if len(first) == 8 and all(is_number(cell) for cell in (*first[1:5], *first[6:])):
        return MAKE_SENSE
    header = [plain(cell) for cell in first]
    image = position(header, IMAGE)
    if image is None:
        # The class may be called `name`, the image `id`.
        image = position(header, ("id",))
    box = box_columns(header)
    if image is None or box is None:
        lacking = "image" if image is None else "box (xmin, ymin, xmax, ymax; x, y, width, height)"
        return f"no column of its header is known to hold the {lacking}: {', '.join(first)[:200]}"
    indices, kind = box
    taken = {image, *indices}
    name = position(["" if i in taken else word for i, word in enumerate(header)], NAME)
    height, width = (position(header, sizes(word)) for word in ("height", "width"))
    sized = None
    if height is not None and width is not None and not {height, width} & set(indices):
        sized = (height, width)
    split, crowd = position(header, SPLIT), position(header, CROWD)
    return Columns(image, name, indices, kind, split, crowd, sized)


def sizes(word: str) -> tuple[str, ...]:
    return (word, f"image{word}", f"img{word}")


def box_columns(header: Sequence[str]) -> tuple[tuple[int, ...], Kind] | None:
    """The columns of the box, and what its numbers are; corners where a table has both."""
    short = [without_prefix(word) for word in header]
    groups: tuple[tuple[Kind, tuple[tuple[str, ...], ...]], ...] = (
        ("corners", CORNERS),
        ("centred", CENTRED),
        ("sized", SIZED),
    )
    for words in (header, short):
        for kind, spellings in groups:
            for names in spellings:
                if all(name in words for name in names):
                    return tuple(words.index(name) for name in names), kind
    cell = position(header, ONE_CELL)
    return None if cell is None else ((cell,), "cell")


def plain(cell: str) -> str:
    """A column's name in lower case, letters and digits only."""
    return "".join(c for c in cell.lower() if c.isalnum())


def without_prefix(word: str) -> str:
    """A name without `bbox` or the like in front of it."""
    for prefix in PREFIXES:
        if word.startswith(prefix) and word != prefix:
            return word.removeprefix(prefix)
    return word


def position(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
