"""Which format a folder is in: that whose annotations belong to most of its images. An odd file decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, get_args

from framework import UserError
from plugins.detection.data.foreign import foreign
from plugins.detection.data.readers import coco, cvat, labelme, table, via, voc, yolo
from plugins.detection.data.readers.entry import Reading, Report
from plugins.detection.data.readers.files import Files

Format = Literal["coco", "voc", "yolo", "csv", "cvat", "labelme", "via"]
READERS: Mapping[Format, ModuleType] = {
    "coco": coco,
    "voc": voc,
    "yolo": yolo,
    "csv": table,
    "cvat": cvat,
    "labelme": labelme,
    "via": via,
}
assert tuple(READERS) == get_args(Format)
# A second format with this share of the first one's images is as good a reading of the folder.
AMBIGUOUS = 0.5
KNOWN = "COCO's json, Pascal VOC's xml, YOLO's data.yaml or labels/, a csv, CVAT's xml, labelme's or VIA's json"


@dataclass(frozen=True)
class Read:
    """A folder as one of the formats reads it."""

    format: Format
    reading: Reading
    report: Report


def read_folder(folder: Files, format: Format | Literal["auto"]) -> Read:
    """Read a folder in a format, or in that which fits it.

    Raises:
        UserError: no format fits, two fit, or a file that the format refuses.
    """
    if format != "auto":
        report = Report()
        return Read(format, READERS[format].read(folder, report), report)
    found: list[Read] = []
    refused: dict[Format, UserError] = {}
    for name, reader in READERS.items():
        if not reader.files(folder):
            continue
        report = Report()
        try:
            found.append(Read(name, reader.read(folder, report), report))
        except UserError as error:
            refused[name] = error
    # The first of equals: Python's sort is stable.
    found.sort(key=lambda read: -len(read.reading.annotated))
    if not found or (refused and not found[0].reading.annotated):
        hint = foreign(folder)
        if refused:
            raise UserError("; ".join(filter(None, [str(next(iter(refused.values()))), hint])))
        images = f"{len(folder.images)} images, but " if folder.images else ""
        raise UserError(
            f"task.data.root = '{folder.root}': {images}no annotations; {hint or f'expected {KNOWN}'}"
        )
    best, *others = found
    for name, why in refused.items():
        # Any table may lie beside a data set.
        if name != "csv":
            best.report.drop(f"files of another format ({name}) refused", str(why))
    for other in others:
        leave_out(best, other, folder)
    return best


def leave_out(best: Read, other: Read, folder: Files) -> None:
    """Report annotations of another format that are left out.

    Raises:
        UserError: they belong to as many images, and are other objects.
    """
    mine, theirs = best.reading.annotated, other.reading.annotated
    if not theirs:
        return
    if len(theirs) >= AMBIGUOUS * len(mine) and mine != theirs:
        raise UserError(
            f"task.data.root = '{folder.root}': {best.format} has objects in {len(mine)} images and {other.format} in "
            f"{len(theirs)}; say which: task.data.format={best.format} or {other.format}"
        )
    same = " (the same)" if mine == theirs else ""
    best.report.remark(
        f"objects in {other.format}{same} left out: {best.format} has them in {len(mine)} images, {other.format} in "
        f"{len(theirs)}"
    )
