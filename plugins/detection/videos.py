"""Videos read and written by PyAV, the extra `[video]`: frames one by one, upright; MP4 with all of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image as Pillow
from torch import Tensor

from framework import Video
from framework.extras import import_extra
from framework.media import Pixels, write
from framework.photographs import Unreadable

SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}
# Where a file has no rate.
FRAMES_PER_SECOND = 10.0


@dataclass(frozen=True)
class Film(Video):
    """A video whose file is an MP4 with all frames at full size; `frames` are a preview, the first ones and smaller."""

    data: bytes = b""

    def save(self, folder: Path) -> Path:
        return write(folder / f"{self.name}.mp4", self.data)


def read_video(path: Path) -> tuple[Iterator[Tensor], float]:
    """A video's frames `[3, H, W]` uint8, decoded one by one and rotated to their display orientation, and their rate.

    Raises:
        UserError: PyAV is not installed.
        Unreadable: it cannot be decoded; perhaps only while its frames are read.
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


class FilmWriter:
    """Encodes frames as they come: an MP4 in memory, of a few bytes a frame."""

    def __init__(self, frames_per_second: float) -> None:
        self.av: Any = import_extra("av", "video", "videos need PyAV")
        self.buffer = io.BytesIO()
        self.container = self.av.open(self.buffer, "w", format="mp4")
        rate = Fraction(frames_per_second).limit_denominator(1001)
        codec = "libx264" if "libx264" in self.av.codecs_available else "mpeg4"
        self.stream = self.container.add_stream(codec, rate=rate)
        self.stream.pix_fmt = "yuv420p"
        self.size: tuple[int, int] | None = None

    def add(self, pixels: Pixels) -> None:
        """Encode a frame `[H, W, 3]`; of another size than the first it is scaled to that."""
        if self.size is None:
            # The format halves colours along both axes.
            self.size = (
                pixels.shape[0] + pixels.shape[0] % 2,
                pixels.shape[1] + pixels.shape[1] % 2,
            )
            self.stream.height, self.stream.width = self.size
            self.stream.bit_rate = max(1_000_000, 8 * self.size[0] * self.size[1])
        tall, wide = (n - m for n, m in zip(self.size, pixels.shape[:2], strict=True))
        if (tall, wide) in {(0, 1), (1, 0), (1, 1)}:
            pixels = numpy.pad(pixels, ((0, tall), (0, wide), (0, 0)), mode="edge")
        elif (tall, wide) != (0, 0):
            pixels = numpy.asarray(Pillow.fromarray(pixels).resize(self.size[::-1]))
        frame = self.av.VideoFrame.from_ndarray(numpy.ascontiguousarray(pixels), format="rgb24")
        self.container.mux(self.stream.encode(frame))

    def finish(self) -> bytes:
        """The file."""
        self.container.mux(self.stream.encode())
        self.container.close()
        return self.buffer.getvalue()
