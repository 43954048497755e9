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
from typing import Any, NamedTuple

import numpy
from PIL import Image as Pillow
from torch import Tensor

from framework import Image, Text, UserError, Video
from framework.media import Media, Pixels
from framework.photographs import SUFFIXES, Unreadable, files_in, read_frames, read_photograph
from plugins.detection import videos
from plugins.detection.boxes import area, to_corner_and_size
from plugins.detection.data.coco_json import category_list
from plugins.detection.evaluation.boxes_on_images import draw_boxes
from plugins.detection.sample import Detections
from plugins.detection.tracking import Tracker

# Frames of a video that are in memory at full size.
FRAMES_IN_MEMORY = 16
# Limits of an animation or a preview, which is assembled in memory: pixels of the longer side, and frames.
MAX_SIDE, MAX_FRAMES = 640, 1500
Detect = Callable[[Sequence[Tensor]], list[Detections]]


@dataclass
class Record:
    """The detections so far, as COCO's json, with the data set's own category ids, and as lines of a CSV.

    Attributes:
        tracked: whether detections in videos have the numbers of their tracks.
    """

    categories: Sequence[str]
    category_ids: Sequence[int]
    tracked: bool = False
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)

    def add(
        self, name: str, size: tuple[int, int], found: Detections, tracks: Sequence[int] = ()
    ) -> None:
        """Add the detections in an image file of `(height, width)`, with their tracks where they have any."""
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
                    **({"track_id": tracks[place]} if tracks else {}),
                }
            )
            corners = [round(v, 2) for v in found.boxes[place].tolist()]
            row = [name, *corners, self.categories[label], round(score, 4)]
            track = [tracks[place] if tracks else ""]
            self.rows.append(row + track * self.tracked)
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
        head = ["image", "xmin", "ymin", "xmax", "ymax", "class", "score"]
        table.writerow(head + ["track"] * self.tracked)
        table.writerows(self.rows)
        yield Text("detections", buffer.getvalue(), ".csv")


def predict(
    source: Path | None,
    detect: Detect,
    categories: Sequence[str],
    category_ids: Sequence[int],
    *,
    track: bool = False,
) -> Iterator[Media]:
    """Each image or video with its boxes as soon as it is done, then the json and the CSV.

    Args:
        track: number the objects of videos and animations, each by one number as long as it is followed.

    Raises:
        UserError: no source, or nothing in it can be read.
    """
    if source is None:
        raise UserError("which images? diffobj predict run=RUN_FOLDER input=IMAGE|FOLDER|VIDEO")
    record = Record(categories, category_ids, track)
    folder = source.parent if source.is_file() else source
    for path, name in files(source):
        try:
            file = path.relative_to(folder).as_posix()
            picture = render(name, file, read(path), detect, record)
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
    found = [p for p in files_in(source) if p.suffix.lower() in SUFFIXES | videos.SUFFIXES]
    if not found:
        raise UserError(f"input = '{source}': it contains no image")
    names = [p.relative_to(source).with_suffix("").as_posix() for p in found]
    return [
        (path, name if names.count(name) == 1 else path.relative_to(source).as_posix())
        for path, name in zip(found, names, strict=True)
    ]


class Frames(NamedTuple):
    """The frames `[3, H, W]` of a file, how many are shown in a second, and whether it is a video."""

    frames: Iterable[Tensor]
    rate: float
    video: bool = False


def read(path: Path) -> Frames:
    """The frames of an image (one), an animation or a video.

    Raises:
        Unreadable: it cannot be decoded; of a video perhaps only while its frames are read.
    """
    if path.suffix.lower() in videos.SUFFIXES:
        return Frames(*videos.read_video(path), video=True)
    if path.suffix.lower() in {".gif", ".webp"}:
        return Frames(read_frames(path), videos.FRAMES_PER_SECOND)
    return Frames([read_photograph(path)], videos.FRAMES_PER_SECOND)


def render(name: str, file: str, source: Frames, detect: Detect, record: Record) -> Media:
    """The picture, animation or video `name` with its boxes; detections are recorded once all frames are read.

    Raises:
        Unreadable: a frame, or there is none.
    """
    done: list[tuple[tuple[int, int], Detections, list[int]]] = []
    pictures: list[Pixels] = []
    film = videos.FilmWriter(source.rate) if source.video else None
    tracker = Tracker() if record.tracked else None
    remaining = iter(source.frames)
    while part := list(islice(remaining, FRAMES_IN_MEMORY)):
        still = film is None and not done and len(part) == 1
        for frame, found in zip(part, detect(part), strict=True):
            tracks = tracker.numbers(found) if tracker is not None and not still else []
            done.append(((frame.shape[1], frame.shape[2]), found, tracks))
            if film is None and len(pictures) >= MAX_FRAMES:
                continue
            picture = draw_boxes(
                frame, found.boxes, found.labels, record.categories, found.scores, tracks=tracks
            )
            if film is not None:
                film.add(picture)
            if len(pictures) < MAX_FRAMES:
                pictures.append(picture if still else shrunk(picture))
    if not done:
        raise Unreadable("it has no frame")
    for number, (size, found, tracks) in enumerate(done):
        record.add(file if len(done) == 1 else f"{file}#{number}", size, found, tracks)
    if film is not None:
        return videos.Film(name, numpy.stack(pictures), source.rate, film.finish())
    if len(done) == 1:
        return Image(name, pictures[0])
    return Video(name, numpy.stack(pictures), source.rate)


def shrunk(picture: Pixels) -> Pixels:
    """A picture whose longer side is at most `MAX_SIDE`."""
    smaller = Pillow.fromarray(picture)
    smaller.thumbnail((MAX_SIDE, MAX_SIDE))
    return numpy.asarray(smaller)
