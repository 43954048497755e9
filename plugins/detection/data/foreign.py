"""Annotations in formats that are not read: known by what is in their files, so that an error can name them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plugins.detection.data.readers.files import Files

# So many bytes of a file are looked at.
LOOKED_AT = 20_000
EXPORT = "export COCO, VOC or YOLO"


@dataclass(frozen=True)
class Tool:
    """A format that is not read.

    Attributes:
        name: what it is.
        suffixes: of its files.
        inside: patterns that the beginning of a file has all of; none: the suffix says it.
        advice: what to do.
    """

    name: str
    suffixes: tuple[str, ...]
    inside: tuple[bytes, ...] = ()
    advice: str = EXPORT


TOOLS: Sequence[Tool] = (
    Tool("CreateML's json", (".json",), (rb'"annotations?"', rb'"coordinates"', rb'"label"')),
    Tool("Label Studio's json", (".json",), (rb'"(rectangle|polygon|brush)labels"',)),
    Tool("Label Studio's csv", (".csv",), (rb"(rectangle|polygon|brush)labels",)),
    Tool("Datumaro's json", (".json",), (rb'"items"', rb'"categories"', rb'"label_id"')),
    Tool("Supervisely's json", (".json",), (rb'"classTitle"', rb'"exterior"')),
    Tool("VoTT's json", (".json",), (rb'"assets?"', rb'"regions"', rb'"boundingBox"')),
    Tool("BDD100K's json", (".json",), (rb'"labels"', rb'"box2d"')),
    Tool(
        "COCO's json of detections, which has no images",
        (".json",),
        (rb"^\s*\[", rb'"image_id"', rb'"bbox"', rb'"score"'),
        "take the annotations",
    ),
    Tool("a json in lines", (".jsonl", ".ndjson")),
    Tool("LabelMe's xml", (".xml",), (rb"<annotation>", rb"<polygon>\s*<pt>")),
    Tool(
        "YOLO Keras' text", (".txt",), (rb"(?m)^\S.*\.(?i:jpe?g|png)( \d+,\d+,\d+,\d+,\d+)+\s*$",)
    ),
    Tool("GTSDB's text", (".txt",), (rb"(?m)^\S+\.\w+;\d+;\d+;\d+;\d+;\d+\s*$",), "save a csv"),
    Tool("KITTI's text", (".txt",), (rb"(?m)^[A-Za-z_]+( -?[\d.]+){14,15}\s*$",)),
    Tool("MOT's text", (".txt",), (rb"(?m)^\d+, ?-?\d+(, ?-?[\d.]+){5,}\s*$",)),
    Tool("a table of RLE masks", (".csv",), (rb"(?i)EncodedPixels",), "save boxes"),
    Tool("an archive", (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), advice="unpack it"),
    Tool("TFRecord", (".tfrecord", ".tfrecords", ".record")),
    Tool("Parquet", (".parquet", ".arrow"), advice="write images and a csv"),
    Tool("a spreadsheet", (".xlsx", ".xls", ".ods"), advice="save a csv"),
    Tool("MATLAB's", (".mat",), advice="save a csv"),
)


def foreign(folder: Files) -> str:
    """What the annotations of a folder seem to be, and what to make of them; empty where nothing is known."""
    for tool in TOOLS:
        for path in folder.annotations(*tool.suffixes):
            if tool.inside == () or holds(path, tool.inside):
                return f"{path.name} looks like {tool.name}, which is not read: {tool.advice}"
    return ""


def holds(path: Path, patterns: Sequence[bytes]) -> bool:
    with path.open("rb") as file:
        beginning = file.read(LOOKED_AT)
    return all(re.search(pattern, beginning) for pattern in patterns)
