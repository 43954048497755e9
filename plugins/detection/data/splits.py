"""The three splits: training images, those that choose the best checkpoint, and those for the final evaluation."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from framework.config.schema import Section
from framework.config.types import Count, NonNegative
from framework.errors import UserError
from framework.task import Split
from plugins.detection.data.folder import open_folder
from plugins.detection.data.formats import Format
from plugins.detection.data.generated import Generated
from plugins.detection.data.resizing import Resized
from plugins.detection.sample import Sample, Source


class Data(Section):
    """Where images come from.

    Args:
        root: a folder in COCO, Pascal VOC, YOLO, CSV, CVAT, labelme or VIA format, or its annotation file; None: the
            generated shapes.
        format: which of these; auto: detected.
        categories: the names of a folder's labels, in order, objects of others are dropped; none: all, in its order.
        size: the longer side of the model's images in pixels; None: 128 for the shapes, 320 for a folder.
        train, validation, test: numbers of generated images.
        cache_megabytes: of resized images that each split keeps in memory, in every process.
    """

    root: str | None = None
    format: Literal["auto"] | Format = "auto"
    categories: tuple[str, ...] = ()
    size: Annotated[int, Field(ge=32, le=4096)] | None = None
    train: Count = 12000
    validation: Count = 300
    test: Count = 1000
    cache_megabytes: NonNegative = 2000


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set, resized.

    Attributes:
        category_ids: the labels' numbers in the data set; label + 1 where it has none.
        most_objects: the largest number of objects in an image of each split, where it is known without reading images.
    """

    train: Source
    validation: Source
    test: Source
    category_ids: list[int]
    most_objects: Mapping[str, int]

    def held_out(self, split: Split) -> Source:
        """The images of an evaluation."""
        return self.validation if split == "validation" else self.test


def open_data(data: Data, categories: Sequence[str] = ()) -> Splits:
    """The splits that a configuration describes; what was read from a folder is printed to stderr.

    Args:
        categories: the names of a folder's labels 0, 1, ...; none: the configuration's, or all that occur.

    Raises:
        UserError: a folder that cannot be read.
    """
    size = image_size(data)
    parts: dict[str, Source]
    ids: list[int] = []
    most: dict[str, int] = {}
    if data.root is None:
        counts = {"train": data.train, "validation": data.validation, "test": data.test}
        parts = {name: Generated(name, count, size) for name, count in counts.items()}
    else:
        root = Path(data.root).expanduser()
        opened = open_folder(root, data.format, categories or data.categories)
        print("\n".join(opened.report), file=sys.stderr)
        parts = {"train": opened.train, "validation": opened.validation, "test": opened.test}
        refuse_few(root, parts)
        ids = opened.train.category_ids
        folders = {"train": opened.train, "validation": opened.validation, "test": opened.test}
        most = {name: folder.most_objects for name, folder in folders.items()}
    prepared = {name: Resized(part, size, data.cache_megabytes) for name, part in parts.items()}
    ids = ids or [n + 1 for n in range(len(parts["train"].categories))]
    return Splits(Whole(prepared["train"]), prepared["validation"], prepared["test"], ids, most)


def refuse_few(root: Path, parts: Mapping[str, Source]) -> None:
    """Refuse a folder without an image in each of the three splits.

    Raises:
        UserError: names how many it has.
    """
    counts = {name: len(part) for name, part in parts.items()}
    if not all(counts.values()):
        images = sum(counts.values())
        raise UserError(
            f"task.data.root = '{root}': {images} {'image' if images == 1 else 'images'} with known objects; expected "
            "at least 3: one to learn from, one to choose the best checkpoint by, one to test on"
        )


class Whole:
    """A source in which the next image stands for a damaged one, so that none is learned as an empty grey image."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.categories = source.categories

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int) -> Sample:
        count = len(self.source)
        samples = (self.source.sample((index + step) % count) for step in range(count))
        found = next((sample for sample in samples if not sample.damaged), None)
        if found is None:
            raise UserError("task.data.root: every training image is damaged")
        return found


def image_size(data: Data) -> int:
    """The longer side of the model's images, in pixels."""
    return data.size or (128 if data.root is None else 320)


def mean_objects_per_image(source: Source, max_images: int = 500) -> float:
    """The mean number of objects in the first `max_images` images, at least 1."""
    count = min(max_images, len(source))
    return max(1.0, sum(len(source.sample(i).boxes) for i in range(count)) / max(1, count))
