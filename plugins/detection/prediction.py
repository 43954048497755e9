"""A trained detector on the user's images: pictures with boxes, COCO's json and a CSV."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
from torch import Tensor

from framework import Image, Text, UserError, Video
from framework.media import Media
from plugins.detection.boxes import area, to_corner_and_size
from plugins.detection.coco import category_list
from plugins.detection.drawing import annotated
from plugins.detection.images import Unreadable, read_frames, read_image
from plugins.detection.readers.entry import IMAGES
from plugins.detection.sample import Detections

VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
FRAMES_PER_SECOND = 10.0
Find = Callable[[Sequence[Tensor]], list[Detections]]


@dataclass
class Record:
    """What was found so far, as COCO's json and as lines of a CSV."""

    categories: Sequence[str]
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)

    def add(self, name: str, image: Tensor, found: Detections) -> None:
        """Note what was found in an image `[3, H, W]`."""
        number = len(self.images) + 1
        height, width = image.shape[-2:]
        self.images.append({"id": number, "file_name": name, "width": width, "height": height})
        boxes, sizes = to_corner_and_size(found.boxes).tolist(), area(found.boxes).tolist()
        for place, (label, score) in enumerate(
            zip(found.labels.tolist(), found.scores.tolist(), strict=True)
        ):
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": boxes[place],
                    "area": sizes[place],
                    "iscrowd": 0,
                    "score": score,
                }
            )
            corners = [round(v, 2) for v in found.boxes[place].tolist()]
            self.rows.append([name, *corners, self.categories[label], round(score, 4)])
        if not len(found.boxes):
            self.rows.append([name, "", "", "", "", "", ""])

    def texts(self) -> Iterator[Text]:
        """`detections.json` and `detections.csv`."""
        whole = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": category_list(self.categories),
        }
        yield Text("detections", json.dumps(whole), ".json")
        buffer = io.StringIO()
        table = csv.writer(buffer)
        table.writerow(["image", "xmin", "ymin", "xmax", "ymax", "class", "score"])
        table.writerows(self.rows)
        yield Text("detections", buffer.getvalue(), ".csv")


def predict(source: Path | None, find: Find, categories: Sequence[str]) -> Iterator[Media]:
    """Each image or video with its boxes as it comes, the json and the CSV in the end.

    Raises:
        UserError: no source, or nothing in it can be read.
    """
    if source is None:
        raise UserError("which images? diffobj predict run=RUN_FOLDER input=IMAGE|FOLDER|VIDEO")
    record = Record(categories)
    for path, name in files(source):
        try:
            frames = read(path)
        except Unreadable as error:
            if source.is_file():
                raise UserError(f"input = '{source}': {error}") from None
            print(f"{path}: {error}; left out", file=sys.stderr)
            continue
        yield drawn(name, frames, find, record)
    if not record.images:
        raise UserError(f"input = '{source}': no image in it can be read")
    yield from record.texts()


def files(source: Path) -> list[tuple[Path, str]]:
    """Image and video files and what their pictures are called, without a suffix where that tells them apart."""
    if source.is_file():
        return [(source, source.stem)]
    found = [p for p in sorted(source.rglob("*")) if p.suffix.lower() in IMAGES | VIDEOS]
    if not found:
        raise UserError(f"input = '{source}': it holds no image")
    names = [p.relative_to(source).with_suffix("").as_posix() for p in found]
    return [
        (path, name if names.count(name) == 1 else path.relative_to(source).as_posix())
        for path, name in zip(found, names, strict=True)
    ]


def read(path: Path) -> list[Tensor]:
    """The frames `[3, H, W]` of an image (one) or a video.

    Raises:
        Unreadable: what it is not.
    """
    if path.suffix.lower() in VIDEOS:
        return read_video(path)
    if path.suffix.lower() in {".gif", ".webp"}:
        return read_frames(path)
    return [read_image(path)]


def read_video(path: Path) -> list[Tensor]:
    """A video's frames, by PyAV.

    Raises:
        UserError: PyAV is not installed.
    """
    try:
        import av
    except ModuleNotFoundError:
        raise UserError(f"{path}: videos need PyAV: pip install 'diffobj[video]'") from None
    import torch

    try:
        with av.open(str(path)) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        raise Unreadable(str(error)) from None
    return [torch.from_numpy(frame).permute(2, 0, 1) for frame in frames]


def drawn(name: str, frames: Sequence[Tensor], find: Find, record: Record) -> Media:
    """The picture or the video with its boxes; what was found is noted."""
    pictures = []
    for number, (frame, found) in enumerate(zip(frames, find(frames), strict=True)):
        record.add(name if len(frames) == 1 else f"{name}#{number}", frame, found)
        pictures.append(
            annotated(frame, found.boxes, found.labels, record.categories, found.scores)
        )
    if len(pictures) == 1:
        return Image(name, pictures[0])
    return Video(name, numpy.stack(pictures), FRAMES_PER_SECOND)
