"""What a task shows: images, videos and texts, for TensorBoard and for the run folder."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray
from PIL import Image as Pillow

from framework.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

Pixels = NDArray[numpy.uint8]
# How many pixels a video's palette is computed from.
PALETTE_PIXELS = 1_000_000


@dataclass(frozen=True)
class Image:
    """A picture, `[H, W, 3]` uint8."""

    name: str
    pixels: Pixels

    def encoded(self) -> bytes:
        """The picture as PNG."""
        buffer = io.BytesIO()
        Pillow.fromarray(self.pixels).save(buffer, "PNG")
        return buffer.getvalue()

    def save(self, folder: Path) -> Path:
        return write(folder / f"{self.name}.png", self.encoded())

    @classmethod
    def from_figure(cls, name: str, figure: Figure) -> Image:
        """A matplotlib figure as a picture; needs no display."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return cls(name, numpy.asarray(canvas.buffer_rgba())[:, :, :3].copy())


@dataclass(frozen=True)
class Video:
    """Frames `[T, H, W, 3]` uint8, written as an animated GIF, which TensorBoard plays as an image."""

    name: str
    frames: Pixels
    frames_per_second: float = 25.0

    def encoded(self) -> bytes:
        """The frames as an animated GIF; all frames share their 256 colours, so that nothing flickers."""
        stride = math.ceil(math.sqrt(self.frames.size / 3 / PALETTE_PIXELS))
        # Some of every frame.
        pixels = self.frames[:, ::stride, ::stride].reshape(1, -1, 3)
        palette = Pillow.fromarray(pixels).quantize(256)
        # One after the other: all frames in four bytes a pixel would outweigh the training.
        drawn = [
            Pillow.fromarray(frame).quantize(palette=palette, dither=Pillow.Dither.NONE)
            for frame in self.frames
        ]
        # GIF counts centiseconds.
        duration = max(20, 10 * math.ceil(100 / self.frames_per_second))
        buffer = io.BytesIO()
        drawn[0].save(
            buffer, "GIF", save_all=True, append_images=drawn[1:], duration=duration, loop=0
        )
        return buffer.getvalue()

    def save(self, folder: Path) -> Path:
        return write(folder / f"{self.name}.gif", self.encoded())


@dataclass(frozen=True)
class Text:
    """A text such as a Markdown table or an SVG; `suffix` is its file's."""

    name: str
    text: str
    suffix: str = ".md"

    def save(self, folder: Path) -> Path:
        return write(folder / f"{self.name}{self.suffix}", self.text.encode())


@dataclass(frozen=True)
class Projection:
    """Vectors `[N, D]` with a label and a small square picture `[N, 3, S, S]` uint8 each, for TensorBoard's projector.

    In the run folder they are a table of tab-separated values.
    """

    name: str
    vectors: Tensor
    labels: list[str]
    pictures: Tensor

    def save(self, folder: Path) -> Path:
        lines = [
            "\t".join([label, *(f"{number:.6g}" for number in vector)])
            for label, vector in zip(self.labels, self.vectors.tolist(), strict=True)
        ]
        return write(folder / f"{self.name}.tsv", ("\n".join(lines) + "\n").encode())


Media = Image | Video | Text | Projection


def write(path: Path, data: bytes) -> Path:
    """Write a file, making the folders on the way; see `write_atomically`."""
    write_atomically(path, data)
    return path
