"""Pascal VOC's xml: one file for each image; corners count from 1 and belong to the box, so x0 = xmin - 1, x1 = xmax.

    root/Annotations/*.xml + root/JPEGImages/* + root/ImageSets/Main/{train,trainval,val,test}.txt,
    root/{train,val,test}/*.xml beside their images, or *.xml anywhere in root.

An object marked difficult counts as a crowd: detections there count neither for nor against. A file with a document
type is refused: its entities could expand without bound.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

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

MAX_BYTES = 10_000_000
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Refused(Exception):
    """A file that is not read, and the reason."""


class WithoutEntities(ElementTree.TreeBuilder):
    """Builds a tree of plain elements."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise Refused("has a document type")


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.xml"))


def recognises(root: Path) -> bool:
    return any(b"<annotation" in path.open("rb").read(4000) for path in files(root)[:20])


def read(root: Path, report: Report) -> Reading:
    """All splits of a folder."""
    pictures = Files(root, report)
    splits = lists(root)
    entries: dict[str | None, list[Entry]] = {}
    names: set[str] = set()
    for path in files(root):
        try:
            filename, annotations, size = read_file(path, report)
        except (ElementTree.ParseError, Refused, ValueError, OSError) as error:
            report.drop(f"annotation files not read ({error})", path.name)
            continue
        own = split_of_folder(path, root)
        image = pictures.find([filename, path.stem], folders(path), own)
        if image is None:
            continue
        names |= {thing.name for thing in annotations}
        for split in splits.get(path.stem, [] if splits else [own]):
            entries.setdefault(split, []).append(Entry(image, annotations, size))
        if splits and path.stem not in splits:
            report.drop("annotated images in no list of ImageSets/Main left out", path.name)
    return Reading(entries, sorted(names))


def folders(path: Path) -> list[Path]:
    """Where the image of an xml may be: beside it, or in the corresponding folder below JPEGImages."""
    parts = ["JPEGImages" if part == "Annotations" else part for part in path.parent.parts]
    return [path.parent, Path(*parts), path.parent.parent / "JPEGImages"]


def lists(root: Path) -> dict[str, list[str | None]]:
    """The splits of each image by ImageSets/Main/train.txt and its siblings; lists of single classes do not count.

    Where there is no train.txt, the images of trainval.txt that are in no other list are for training.
    """
    found: dict[str, list[str | None]] = {}
    for folder in sorted(root.rglob("ImageSets/Main")):
        by_split = {name: listed(folder / f"{name}.txt") for name in ("train", "val", "test")}
        others = {*by_split["val"], *by_split["test"]}
        rest = [stem for stem in listed(folder / "trainval.txt") if stem not in others]
        by_split["train"] = by_split["train"] or rest
        for name, stems in by_split.items():
            for stem in stems:
                found.setdefault(stem, []).append(split_of(name))
    return found


def listed(path: Path) -> list[str]:
    """The first word of each line of a file, where it exists."""
    lines = read_text(path).splitlines() if path.is_file() else []
    return [words[0] for line in lines if (words := line.split())]


def read_file(
    path: Path, report: Report
) -> tuple[str, tuple[Annotation, ...], tuple[int, int] | None]:
    """An image's file name, its objects, and its `(height, width)` where given."""
    if path.stat().st_size > MAX_BYTES:
        raise Refused(f"has more than {MAX_BYTES:,} bytes")
    parser = ElementTree.XMLParser(target=WithoutEntities())
    parser.feed(path.read_bytes())
    tree = parser.close()
    annotations = []
    for element in tree.iter("object"):
        name = (element.findtext("name") or "").strip()
        box = element.find("bndbox")
        texts = [box.findtext(corner) for corner in CORNERS] if box is not None else [None]
        if not name or None in texts:
            report.drop("objects without a name or a box dropped", path.name)
            continue
        x0, y0, x1, y1 = (float(text or "nan") for text in texts)
        if not all_finite((x0, y0, x1, y1)):
            report.drop("objects without a name or a box dropped", path.name)
            continue
        difficult = (element.findtext("difficult") or "0").strip() == "1"
        annotations.append(Annotation((x0 - 1, y0 - 1, x1, y1), name, difficult))
    size = parse_size(tree.findtext("size/height"), tree.findtext("size/width"))
    return (tree.findtext("filename") or "").strip(), tuple(annotations), size
