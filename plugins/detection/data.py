"""Which images are learned from, which choose the best checkpoint, and which judge it in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from framework.config import Section
from plugins.detection.generated import Generated
from plugins.detection.preparation import Prepared
from plugins.detection.sample import Source

Count = Annotated[int, Field(ge=1)]


class Data(Section):
    """Where images come from.

    Args:
        root: a folder in COCO's, Pascal VOC's, YOLO's or CSV form; none: the generated shapes.
        form: which of these; auto: found out by looking.
        size: the longer side of the images that the model gets; none: 128 for the shapes, 320 for a folder.
        train, validation, test: how many shapes are generated.
        cache_megabytes: of decoded and resized images that are kept in memory.
    """

    root: str | None = None
    form: Literal["auto", "coco", "voc", "yolo", "csv"] = "auto"
    size: Annotated[int, Field(ge=32, le=4096)] | None = None
    train: Count = 2000
    validation: Count = 300
    test: Count = 1000
    cache_megabytes: Annotated[float, Field(ge=0)] = 2000


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set, resized to `size`."""

    train: Source
    validation: Source
    test: Source
    size: int


def open_data(data: Data) -> Splits:
    """The splits that a configuration describes."""
    size = data.size or 128
    parts = {
        "train": Generated("train", data.train, size),
        "validation": Generated("validation", data.validation, size),
        "test": Generated("test", data.test, size),
    }
    prepared = {name: Prepared(part, size, data.cache_megabytes) for name, part in parts.items()}
    return Splits(**prepared, size=size)


def usual_objects(source: Source, most: int = 500) -> float:
    """How many objects an image has in the mean of the first `most`, at least 1."""
    count = min(most, len(source))
    return max(1.0, sum(len(source.sample(i).boxes) for i in range(count)) / max(1, count))
