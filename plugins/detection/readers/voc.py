"""Pascal VOC's xml: one file for each image; corners count from 1 and belong to the box, so x0 = xmin - 1, x1 = xmax.

    root/Annotations/*.xml + root/JPEGImages/* + root/ImageSets/Main/{train,val,test}.txt,
    root/{train,val,test}/*.xml beside their images, or *.xml anywhere in root.

An object marked difficult counts as a crowd: found or not, nobody is blamed. A file with a document type is refused:
entities could blow it up.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from plugins.detection.readers.entry import (
    Entry,
    Files,
    Reading,
    Report,
    Thing,
    split_of,
    whole,
)

MOST_BYTES = 10_000_000
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Refused(Exception):
    """A file that is not read, and why."""


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
    listed = lists(root)
    entries: dict[str | None, list[Entry]] = {}
    names: set[str] = set()
    for path in files(root):
        try:
            filename, things = read_file(path, report)
        except (ElementTree.ParseError, Refused, ValueError, OSError) as error:
            report.drop(f"annotation files not read ({error})", path.name)
            continue
        split = split_of(path.parent.name)
        image = pictures.find([filename, path.stem], folders(path), split)
        if image is None:
            continue
        names |= {thing.name for thing in things}
        for split in listed.get(path.stem, [] if listed else [split]):
            entries.setdefault(split, []).append(Entry(image, things))
        if listed and path.stem not in listed:
            report.drop("annotated images in no list of ImageSets/Main left out", path.name)
    return Reading(entries, sorted(names))


def folders(path: Path) -> list[Path]:
    """Where the image of an xml may be: beside it, or in the like folder below JPEGImages."""
    parts = ["JPEGImages" if part == "Annotations" else part for part in path.parent.parts]
    return [path.parent, Path(*parts), path.parent.parent / "JPEGImages"]


def lists(root: Path) -> dict[str, list[str | None]]:
    """The splits of each image that ImageSets/Main/train.txt and its like name; lists of one class do not count."""
    found: dict[str, list[str | None]] = {}
    for path in sorted(root.rglob("ImageSets/Main/*.txt")):
        if path.stem in {"train", "val", "test"}:
            for line in path.read_text(encoding="utf-8").splitlines():
                if words := line.split():
                    found.setdefault(words[0], []).append(split_of(path.stem))
    return found


def read_file(path: Path, report: Report) -> tuple[str, tuple[Thing, ...]]:
    """An image's file name and its objects."""
    if path.stat().st_size > MOST_BYTES:
        raise Refused(f"has more than {MOST_BYTES:,} bytes")
    parser = ElementTree.XMLParser(target=WithoutEntities())
    parser.feed(path.read_bytes())
    tree = parser.close()
    things = []
    for element in tree.iter("object"):
        name = (element.findtext("name") or "").strip()
        box = element.find("bndbox")
        texts = [box.findtext(corner) for corner in CORNERS] if box is not None else [None]
        if not name or None in texts:
            report.drop("objects without a name or a box dropped", path.name)
            continue
        x0, y0, x1, y1 = (float(text or "nan") for text in texts)
        if not whole((x0, y0, x1, y1)):
            report.drop("objects without a name or a box dropped", path.name)
            continue
        difficult = (element.findtext("difficult") or "0").strip() == "1"
        things.append(Thing((x0 - 1, y0 - 1, x1, y1), name, difficult))
    return (tree.findtext("filename") or "").strip(), tuple(things)
