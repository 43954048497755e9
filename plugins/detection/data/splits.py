"""Which images are learned from, which choose the best checkpoint, and which judge it in the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from framework.config.schema import Section
from plugins.detection.data.folder import open_folder
from plugins.detection.data.generated import Generated
from plugins.detection.data.resizing import Prepared
from plugins.detection.sample import Source

Count = Annotated[int, Field(ge=1)]


class Data(Section):
    """Where images come from.

    Args:
        root: a folder in COCO's, Pascal VOC's, YOLO's or CSV form; none: the generated shapes.
        form: which of these; auto: found out by looking.
        categories: the names of a folder's labels, in order, objects of others are dropped; none: all, by the alphabet.
        size: the longer side of the images that the model gets; none: 128 for the shapes, 320 for a folder.
        train, validation, test: how many shapes are generated.
        cache_megabytes: of images, resized or drawn, that each split and process keeps in memory.
    """

    root: str | None = None
    form: Literal["auto", "coco", "voc", "yolo", "csv"] = "auto"
    categories: tuple[str, ...] = ()
    size: Annotated[int, Field(ge=32, le=4096)] | None = None
    train: Count = 12000
    validation: Count = 300
    test: Count = 1000
    cache_megabytes: Annotated[float, Field(ge=0)] = 2000


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set, resized."""

    train: Source
    validation: Source
    test: Source


def open_data(data: Data, categories: Sequence[str] = ()) -> Splits:
    """The splits that a configuration describes; a folder's report goes to stderr.

    Args:
        categories: the names of a folder's labels 0, 1, ...; none: those of the configuration, or all that occur.

    Raises:
        UserError: a folder that cannot be read.
    """
    size = image_size(data)
    parts: dict[str, Source]
    if data.root is None:
        counts = {"train": data.train, "validation": data.validation, "test": data.test}
        parts = {name: Generated(name, count, size) for name, count in counts.items()}
    else:
        root = Path(data.root).expanduser()
        opened = open_folder(root, data.form, categories or data.categories)
        print("\n".join(opened.report), file=sys.stderr)
        parts = {"train": opened.train, "validation": opened.validation, "test": opened.test}
    prepared = {name: Prepared(part, size, data.cache_megabytes) for name, part in parts.items()}
    return Splits(**prepared)


def image_size(data: Data) -> int:
    """The longer side of the images that the model gets."""
    return data.size or (128 if data.root is None else 320)


def usual_objects(source: Source, most: int = 500) -> float:
    """How many objects an image has in the mean of the first `most`, at least 1."""
    count = min(most, len(source))
    return max(1.0, sum(len(source.sample(i).boxes) for i in range(count)) / max(1, count))
