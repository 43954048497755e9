"""Pascal VOC's xml: one file for each image; corners count from 1 and belong to the box, so x0 = xmin - 1, x1 = xmax.

    root/Annotations/*.xml + root/JPEGImages/* + root/ImageSets/Main/{train,trainval,val,test}.txt,
    root/train/annotations/*.xml + root/train/images/*, root/{train,val,test}/*.xml beside their images, or *.xml
    anywhere in root.

Where a corner is less than 1, the folder's corners count from 0 and are edges. An image is the one with its xml's own
name; `<filename>`, which stays behind when files are renamed, counts only where there is none. An object marked
difficult counts as a crowd: detections there count neither for nor against.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

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
from plugins.detection.data.readers.files import Files, folded
from plugins.detection.data.readers.xml import Refused, begins_with, parse, text

CORNERS = ("xmin", "ymin", "xmax", "ymax")
# Folders of annotations, and those of images beside them.
ANNOTATIONS = {"annotations", "annotation", "labels", "xml", "xmls", "annots"}
PICTURES = ("JPEGImages", "images", "image", "Images", "img", "imgs")


@dataclass(frozen=True)
class File:
    """What one xml says: an image's file name, its objects with corners as written, its size, and its faults."""

    filename: str
    annotations: tuple[Annotation, ...]
    size: tuple[int, int] | None
    faults: tuple[str, ...]


def files(folder: Files) -> list[Path]:
    return [path for path in folder.annotations(".xml") if begins_with(path, "annotation")]


def read(folder: Files, report: Report) -> Reading:
    """All splits of a folder."""
    read_files: dict[Path, File] = {}
    for path in files(folder):
        try:
            read_files[path] = read_file(path)
        except (Refused, OSError) as error:
            report.drop(f"annotation files not read ({error})", path.name)
    corners = [v for file in read_files.values() for a in file.annotations for v in a.box[:2]]
    first = 0 if min(corners, default=1) < 1 else 1
    if not first:
        report.remark("corners of VOC's xml count from 0 here: they are taken as edges")
    splits = Lists(folder, {path.stem for path in read_files}, report)
    entries: dict[str | None, list[Entry]] = {}
    for path, file in read_files.items():
        entry = entry_of(path, file, first, folder, report)
        if entry is None:
            continue
        own = split_of_folders(path, folder.root)
        for split in splits.of(path.stem, own):
            entries.setdefault(split, []).append(entry)
    names = in_natural_order(a.name for f in read_files.values() for a in f.annotations)
    return Reading(entries, names)


def entry_of(path: Path, file: File, first: int, folder: Files, report: Report) -> Entry | None:
    """The image of an xml with its objects; `first`: the number of the first pixel."""
    for fault in file.faults:
        report.drop(fault, path.name)
    near = folders(path)
    same_name = [p for p in folder.by_stem.get(folded(path.stem), []) if p.parent in near]
    own = split_of_folders(path, folder.root)
    if same_name:
        image: Path | None = same_name[0]
        named = folder.at(file.filename, near)
        if named and named[0] != image:
            report.drop("names in <filename> ignored: an image has its xml's own name", path.name)
    else:
        image = folder.find([file.filename, path.stem], report, near, own)
    if image is None:
        return None
    moved = tuple(replace(a, box=edges(a.box, first)) for a in file.annotations)
    return Entry(image, moved, file.size, len(file.faults))


def edges(
    corners: tuple[float, float, float, float], first: int
) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = corners
    return (x0 - first, y0 - first, x1, y1)


def folders(path: Path) -> list[Path]:
    """Where the image of an xml may be: beside it, or in the corresponding folder of images."""
    near = [path.parent]
    for name in PICTURES:
        parts = [name if part.lower() in ANNOTATIONS else part for part in path.parent.parts]
        near += [Path(*parts), path.parent.parent / name]
    # root/annotations/*.xml with images in root.
    return [*near, path.parent.parent]


class Lists:
    """The splits of each image by ImageSets/Main/train.txt and its siblings; lists of single classes do not count.

    Where there is no train.txt, the images of trainval.txt that are in no other list are for training.
    """

    def __init__(self, folder: Files, stems: set[str], report: Report) -> None:
        self.report, self.stems = report, stems
        self.found: dict[str, list[str | None]] = {}
        places = {p.parent for p in folder.all if p.parent.name in {"Main", "ImageSets"}}
        main = {place for place in places if place.name == "Main"}
        for place in sorted(main or places):
            self.add(place)

    def add(self, place: Path) -> None:
        by_split = {name: self.listed(place / f"{name}.txt") for name in ("train", "val", "test")}
        others = {*by_split["val"], *by_split["test"]}
        rest = [stem for stem in self.listed(place / "trainval.txt") if stem not in others]
        by_split["train"] = by_split["train"] or rest
        for name, stems in by_split.items():
            for stem in stems:
                self.found.setdefault(stem, []).append(split_of(name))

    def listed(self, path: Path) -> list[str]:
        """The xmls' names that a list names, where it exists: alone, with a suffix, or with a number behind it."""
        found = []
        for line in read_text(path).splitlines() if path.is_file() else []:
            whole = line.strip()
            forms = (whole, Path(whole).stem, whole.rpartition(" ")[0].strip())
            stem = next((form for form in forms if form in self.stems), None)
            if stem is not None:
                found.append(stem)
            elif whole:
                self.report.drop("listed names without an annotation file", f"{path.name}: {whole}")
        return found

    def of(self, stem: str, own: str | None) -> list[str | None]:
        """The splits of an image; `own`: that of its folder, where there are no lists."""
        if not self.found:
            return [own]
        if stem not in self.found:
            self.report.drop("annotated images in no list of ImageSets/Main left out", stem)
        return self.found.get(stem, [])


def read_file(path: Path) -> File:
    """One xml.

    Raises:
        Refused: it is no XML, or has a document type.
    """
    tree = parse(path)
    found = [parse_object(element) for element in tree.iter("object")]
    return File(
        text(tree, "filename"),
        tuple(one for one in found if isinstance(one, Annotation)),
        parse_size(tree.findtext("size/height"), tree.findtext("size/width")),
        tuple(one for one in found if isinstance(one, str)),
    )


def parse_object(element: ElementTree.Element) -> Annotation | str:
    """An object with its corners as written, or the reason why it is dropped."""
    name, box = text(element, "name"), element.find("bndbox")
    corners = numbers(box.findtext(corner) for corner in CORNERS) if box is not None else None
    if not name or corners is None:
        return "objects without a name or a box dropped"
    x0, y0, x1, y1 = corners
    if x1 <= x0 or y1 <= y0:
        return EMPTY_BOX
    return Annotation((x0, y0, x1, y1), name, text(element, "difficult") == "1")
