"""Prediction on a user's images and videos: pictures with boxes, COCO's json and a CSV."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image as Pillow
from torch import Tensor

from framework import Image, Text, UserError, Video
from framework.extras import import_extra
from framework.media import Media, Pixels
from framework.photographs import SUFFIXES, Unreadable, files_in, read_frames, read_photograph
from plugins.detection.boxes import area, to_corner_and_size
from plugins.detection.data.coco_json import category_list
from plugins.detection.evaluation.boxes_on_images import draw_boxes
from plugins.detection.sample import Detections

VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
# Where a file has no rate.
FRAMES_PER_SECOND = 10.0
# Frames of a video that are in memory at full size.
FRAMES_IN_MEMORY = 16
# Limits of an animation, which is assembled in memory: pixels of the longer side, and frames.
MAX_SIDE, MAX_FRAMES = 640, 1500
Detect = Callable[[Sequence[Tensor]], list[Detections]]


@dataclass
class Record:
    """The detections so far, as COCO's json, with the data set's own category ids, and as lines of a CSV."""

    categories: Sequence[str]
    category_ids: Sequence[int]
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)

    def add(self, name: str, size: tuple[int, int], found: Detections) -> None:
        """Add the detections in an image file of `(height, width)`."""
        number = len(self.images) + 1
        height, width = size
        self.images.append({"id": number, "file_name": name, "width": width, "height": height})
        boxes, sizes = to_corner_and_size(found.boxes).tolist(), area(found.boxes).tolist()
        for place, (label, score) in enumerate(
            zip(found.labels.tolist(), found.scores.tolist(), strict=True)
        ):
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": number,
                    "category_id": self.category_ids[label],
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
            "categories": category_list(self.categories, self.category_ids),
        }
        yield Text("detections", json.dumps(whole), ".json")
        buffer = io.StringIO()
        table = csv.writer(buffer)
        table.writerow(["image", "xmin", "ymin", "xmax", "ymax", "class", "score"])
        table.writerows(self.rows)
        yield Text("detections", buffer.getvalue(), ".csv")


def predict(
    source: Path | None, detect: Detect, categories: Sequence[str], category_ids: Sequence[int]
) -> Iterator[Media]:
    """Each image or video with its boxes as soon as it is done, then the json and the CSV.

    Raises:
        UserError: no source, or nothing in it can be read.
    """
    if source is None:
        raise UserError("which images? diffobj predict run=RUN_FOLDER input=IMAGE|FOLDER|VIDEO")
    record = Record(categories, category_ids)
    folder = source.parent if source.is_file() else source
    for path, name in files(source):
        try:
            file = path.relative_to(folder).as_posix()
            picture = render(name, file, *read(path), detect, record)
        except Unreadable as error:
            if source.is_file():
                raise UserError(f"input = '{source}': {error}") from None
            print(f"{path}: {error}; left out", file=sys.stderr)
            continue
        yield picture
    if not record.images:
        raise UserError(f"input = '{source}': no image in it can be read")
    yield from record.texts()


def files(source: Path) -> list[tuple[Path, str]]:
    """Image and video files and the names of their pictures, without a suffix where that is unambiguous."""
    if source.is_file():
        return [(source, source.stem)]
    found = [p for p in files_in(source) if p.suffix.lower() in SUFFIXES | VIDEOS]
    if not found:
        raise UserError(f"input = '{source}': it contains no image")
    names = [p.relative_to(source).with_suffix("").as_posix() for p in found]
    return [
        (path, name if names.count(name) == 1 else path.relative_to(source).as_posix())
        for path, name in zip(found, names, strict=True)
    ]


def read(path: Path) -> tuple[Iterable[Tensor], float]:
    """The frames `[3, H, W]` of an image (one) or a video, and the frames per second.

    Raises:
        Unreadable: it cannot be decoded; of a video perhaps only while its frames are read.
    """
    if path.suffix.lower() in VIDEOS:
        return read_video(path)
    if path.suffix.lower() in {".gif", ".webp"}:
        return read_frames(path), FRAMES_PER_SECOND
    return [read_photograph(path)], FRAMES_PER_SECOND


def read_video(path: Path) -> tuple[Iterator[Tensor], float]:
    """A video's frames, decoded by PyAV one by one and rotated to their display orientation, and their rate.

    Raises:
        UserError: PyAV is not installed.
    """
    av = import_extra("av", "video", f"{path}: videos need PyAV")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise Unreadable(error.strerror) from None

    def frames() -> Iterator[Tensor]:
        with container:
            try:
                for frame in container.decode(video=0):
                    # A phone held upright films sideways.
                    quarters = round(frame.rotation / 90)
                    pixels = numpy.rot90(frame.to_ndarray(format="rgb24"), quarters)
                    yield torch.from_numpy(pixels.copy()).permute(2, 0, 1)
            except av.FFmpegError as error:
                raise Unreadable(error.strerror) from None

    streams = container.streams.video
    if not streams:
        container.close()
        raise Unreadable("it contains no video")
    return frames(), float(streams[0].average_rate or FRAMES_PER_SECOND)


def render(
    name: str, file: str, frames: Iterable[Tensor], rate: float, detect: Detect, record: Record
) -> Media:
    """The picture or the animation `name` with its boxes; its detections are recorded once all frames are read.

    Raises:
        Unreadable: a frame, or there is none.
    """
    done: list[tuple[tuple[int, int], Detections]] = []
    pictures: list[Pixels] = []
    remaining = iter(frames)
    while part := list(islice(remaining, FRAMES_IN_MEMORY)):
        still = not done and len(part) == 1
        for frame, found in zip(part, detect(part), strict=True):
            done.append(((frame.shape[1], frame.shape[2]), found))
            if len(pictures) < MAX_FRAMES:
                picture = draw_boxes(
                    frame, found.boxes, found.labels, record.categories, found.scores
                )
                pictures.append(picture if still else shrunk(picture))
    if not done:
        raise Unreadable("it has no frame")
    for number, (size, found) in enumerate(done):
        record.add(file if len(done) == 1 else f"{file}#{number}", size, found)
    if len(done) == 1:
        return Image(name, pictures[0])
    return Video(name, numpy.stack(pictures), rate)


def shrunk(picture: Pixels) -> Pixels:
    """A picture whose longer side is at most `MAX_SIDE`."""
    smaller = Pillow.fromarray(picture)
    smaller.thumbnail((MAX_SIDE, MAX_SIDE))
    return numpy.asarray(smaller)
